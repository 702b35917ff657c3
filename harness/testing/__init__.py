"""Shipped to plugin authors: contract checks, a tiny policy, fake distributions."""
