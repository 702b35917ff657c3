"""Metrics over generated answers."""
