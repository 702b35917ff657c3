"""What a stage does. The modules that import torch are loaded only to run a stage."""
