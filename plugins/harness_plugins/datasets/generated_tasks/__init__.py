"""Tasks with one right answer, made by seeded code, whose demonstrator may be fallible."""

from __future__ import annotations

from pydantic import Field, NonNegativeInt

from harness.api import Options


class TaskOptions(Options):
    """What all generated tasks have in common."""

    slips: float = Field(0.0, ge=0.0, le=1.0)
    """Share of the training demonstrations whose author makes the task's one mistake, always the same; answers that a
    reward or a metric compares with are right all the same, and so is everything in validation and test."""
    seed: NonNegativeInt = 0
    """Settles the rows, their order and who slips; data sets of one benchmark share it."""
