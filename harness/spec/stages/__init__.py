"""What a stage is asked to do: one class a kind, whose digest is part of the stage's id."""
