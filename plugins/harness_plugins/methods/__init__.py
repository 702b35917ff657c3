"""Post-fine-tuning methods."""
