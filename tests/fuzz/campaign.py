"""How many cases are tried, what became of them, and which took the longest."""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final

from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Whether the large numbers are asked for, as ``tox -e fuzz`` does.
LARGE: Final = os.environ.get("HARNESS_FUZZ") == "large"
#: Seconds of CPU that no single case may take; looked at in large numbers alone.
MOST_CPU: Final = 2.0
#: Cases between two lines of progress.
_EVERY: Final = 500


@dataclass
class Campaign:
    """Cases of one kind of input."""

    name: str
    few: int
    """Cases of all its tests together in the ordinary suite."""
    many: int
    """Those of ``tox -e fuzz``."""
    cases: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    """Seconds of CPU."""
    tell: ClassVar[Callable[[str], None]] = lambda _: None
    every: ClassVar[list[Campaign]] = []

    def __post_init__(self) -> None:
        self.every.append(self)

    def settings(self, share: float) -> settings:
        """Return what hypothesis is told: the same cases every time in small numbers, new ones in large."""
        return settings(
            max_examples=max(2, round(share * (self.many if LARGE else self.few))),
            deadline=None,
            derandomize=not LARGE,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        )

    @contextlib.contextmanager
    def case(self) -> Iterator[Callable[[str], None]]:
        """Count a case; what is given takes a word for what became of it."""
        began = time.process_time()
        yield lambda outcome: self.outcomes.update([outcome])
        took = time.process_time() - began
        self.cases += 1
        self.slowest = max(self.slowest, took)
        if self.cases % _EVERY == 0:
            type(self).tell(str(self))
        assert not LARGE or took < MOST_CPU, f"{took:.1f} s of CPU for one case"

    def __str__(self) -> str:
        outcomes = ", ".join(f"{count:,} {name}" for name, count in self.outcomes.most_common())
        return f"{self.name}: {self.cases:,} cases ({outcomes}), the slowest {self.slowest:.2f} s of CPU"
