"""Plugins for posttune-harness: evolution strategy in parameter space, and what a first experiment with it needs."""
