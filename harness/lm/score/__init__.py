"""Log-probabilities: packed rows, attention over trees, reward models."""
