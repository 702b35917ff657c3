"""Sides are timed in turns, step by step, so that what the machine does meanwhile falls on all of them alike."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass
class Seconds:
    """What the rounds of one comparison took, by side."""

    sides: dict[str, list[float]] = field(default_factory=dict)

    def add(self, side: str, seconds: float) -> None:
        """Take one measurement."""
        self.sides.setdefault(side, []).append(seconds)

    def median(self, side: str) -> float:
        """Return the median of a side."""
        return statistics.median(self.sides[side])

    def spread(self, side: str) -> tuple[float, float]:
        """Return the quartiles of a side."""
        low, _, high = statistics.quantiles(self.sides[side], n=4)
        return low, high

    def ratio(self, slow: str, fast: str) -> float:
        """Return how many times as fast one side is as the other: the median over rounds of their ratio."""
        return statistics.median(a / b for a, b in zip(self.sides[slow], self.sides[fast], strict=True))

    def ratios(self, slow: str, fast: str) -> tuple[float, float]:
        """Return the quartiles over rounds of the ratio."""
        each = [a / b for a, b in zip(self.sides[slow], self.sides[fast], strict=True)]
        low, _, high = statistics.quantiles(each, n=4)
        return low, high


def interleave(sides: Mapping[str, Callable[[], object]], *, rounds: int, warm_up: int = 1) -> Seconds:
    """Call every side once a round, in turning order; the first ``warm_up`` rounds are not counted."""
    found = Seconds()
    names = list(sides)
    for number in range(warm_up + rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            began = time.perf_counter()
            sides[name]()
            if number >= warm_up:
                found.add(name, time.perf_counter() - began)
    return found
