"""What rooms say to each other, as pydantic classes: a benchmark's file, and soon a stage's request and results."""
