"""Answers that can be checked: what a text says, and whether that is right."""
