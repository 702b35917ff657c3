"""Sampling and beam search over cached keys and values."""
