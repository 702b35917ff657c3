"""Learning rates as a closed form of the step, so that a schedule can be entered anywhere without a memory.

No state is stepped: the rate at a step is the same for every number of ranks, after every restart and on every branch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from harness.spec.schedule import Curve


@dataclass(frozen=True)
class LearningRate:
    """A learning rate over the steps ``[first, last)``.

    With t steps behind it and n steps in all after the warm-up, the rate at a step is
    ``floor + (peak - floor) * (1 + cos(pi t / n)) / 2`` (cosine), ``floor + (peak - floor) * (1 - t / n)`` (linear) or
    ``peak``. Step ``first`` has the peak (without warm-up), step ``last``, which is no longer taken, would have the
    floor. The w steps of a warm-up have ``peak * 1/w``, ``peak * 2/w``, …, ``peak``. From the step ``switch`` on, the
    curve ``then`` holds instead.
    """

    kind: Literal["cosine", "linear", "constant"]
    peak: float
    floor: float
    warmup_steps: int
    first: int
    last: int
    switch: int | None = None
    then: LearningRate | None = None

    @classmethod
    def of(cls, curve: Curve, steps_per_epoch: int) -> LearningRate:
        """Return a curve whose positions have become steps."""
        return cls(
            curve.kind,
            curve.peak,
            curve.floor,
            curve.warmup_steps,
            curve.first.step(steps_per_epoch),
            curve.last.step(steps_per_epoch),
            None if curve.switch is None else curve.switch.step(steps_per_epoch),
            None if curve.then is None else cls.of(curve.then, steps_per_epoch),
        )

    def at(self, step: int) -> LearningRate:
        """Return the curve that a step is on: this one, or the one that has taken over from it."""
        return self if self.then is None or self.switch is None or step < self.switch else self.then.at(step)

    @property
    def end(self) -> int:
        """The first step that the whole schedule does not have."""
        return self.last if self.then is None else self.then.end

    def shortfalls(self) -> list[str]:
        """Say where a schedule cannot do what it is asked for: a warm-up without an end, a fall without a depth."""
        if self.then is not None and self.then.first == self.first:
            return self.then.shortfalls()  # one warm-up for both
        over = self.last if self.then is None or self.switch is None else min(self.switch, self.last)
        steps = over - self.first
        remarks = []
        if self.peak > 0 and self.warmup_steps and 0 < steps < self.warmup_steps:
            reached = self.rate(over - 1) / self.peak
            remarks.append(
                f"a warm-up of {self.warmup_steps} steps is longer than the {steps} steps that it has: the learning "
                f"rate gets to {100 * reached:.3g} % of its peak"
            )
        elif self.peak > 0 and self.warmup_steps == steps > 0 and self.kind != "constant":
            remarks.append(f"a warm-up takes all {steps} steps that it has: the {self.kind} schedule never begins")
        elif 0 < self.peak <= self.floor and self.kind != "constant":
            remarks.append(
                f"the {self.kind} schedule does not fall: min_learning_rate {self.floor:g} is not below its peak "
                f"{self.peak:g}"
            )
        return remarks + (self.then.shortfalls() if self.then is not None else [])

    def rate(self, step: int) -> float:
        """Return the learning rate of the optimiser step ``step``, counted over the whole schedule."""
        if self.at(step) is not self:
            return self.at(step).rate(step)
        behind = step - self.first
        if behind < self.warmup_steps:
            return self.peak * (behind + 1) / self.warmup_steps
        if self.kind == "constant":
            return self.peak
        fraction = min(1.0, (behind - self.warmup_steps) / max(1, self.last - self.first - self.warmup_steps))
        return self._fallen(fraction)

    def rate_by_share(self, share: float, behind: int) -> float:
        """Return the learning rate where ``share`` of a budget is spent, after ``behind`` steps of its own.

        The curve runs from its peak at 0 to its floor at 1, times 1/w, 2/w, … in the w steps of a warm-up.
        """
        rate = self.peak if self.kind == "constant" else self._fallen(min(1.0, share))
        return rate * min(1.0, (behind + 1) / self.warmup_steps) if self.warmup_steps else rate

    def _fallen(self, fraction: float) -> float:
        left = (1.0 + math.cos(math.pi * fraction)) / 2.0 if self.kind == "cosine" else 1.0 - fraction
        floor = min(self.floor, self.peak)  # a peak of 0 means no training at all, whatever the floor
        return floor + (self.peak - floor) * left
