"""A model with its tokenizer: where it comes from, its parts, and what it supports."""
