"""Where on a schedule something is, and the learning rate over it, before it is known how many steps an epoch has."""

from __future__ import annotations

from typing import Literal

from harness.spec.section import Frozen


class Position(Frozen):
    """A place on the schedule: so many epochs or so many steps, whichever end first, behind another place."""

    epochs: int | None = None
    """None where steps alone count."""
    steps: int | None = None
    """None where epochs alone count."""
    behind: Position | None = None
    """What is counted from; the first step of the shared schedule where None."""

    def step(self, steps_per_epoch: int) -> int:
        """Return the number of the step, counted from the first one of the shared schedule."""
        start = 0 if self.behind is None else self.behind.step(steps_per_epoch)
        by_epochs = None if self.epochs is None else self.epochs * steps_per_epoch
        bounds = [bound for bound in (by_epochs, self.steps) if bound is not None]
        return start + min(bounds, default=0)

    @property
    def epoch(self) -> int | None:
        """The epoch that begins here, where that is all the position says."""
        return self.epochs if self.behind is None and self.steps is None else None

    @property
    def whole_epochs(self) -> int:
        """How many epochs lie before it, the last of them cut short where it says so; 0 where steps alone count."""
        return (self.epochs or 0) + (0 if self.behind is None else self.behind.whole_epochs)

    def __str__(self) -> str:
        if self.epochs is None:
            return f"step {self.steps}"
        return f"{self.whole_epochs}" + ("" if self.steps is None else f" (at most {self.steps} steps)")


class Curve(Frozen):
    """A learning rate between two positions; from ``switch`` on, the curve ``then`` holds instead."""

    kind: Literal["cosine", "linear", "constant"]
    peak: float
    floor: float
    """What cosine and linear end at."""
    warmup_steps: int
    first: Position
    last: Position
    """The curve ends before it."""
    switch: Position | None = None
    then: Curve | None = None

    @property
    def end(self) -> Position:
        """Where the whole schedule ends."""
        return self.last if self.then is None else self.then.end
