"""Who runs the stages, and where."""
