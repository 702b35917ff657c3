"""What rooms say to each other, as pydantic classes: the benchmark file, the stages, and what they leave behind."""
