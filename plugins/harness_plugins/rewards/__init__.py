"""Reward functions with TRL's signature."""
