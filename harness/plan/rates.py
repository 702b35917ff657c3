"""How fast this machine is: matrix products and reading memory, measured in a few hundredths of a second."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

#: Sizes of what is measured: a product of 0.4 GFLOP, and a matrix of 32 MB that no cache holds as a whole.
_INNER, _OUTER, _ROWS, _LONG = 768, 512, 2048, 4096
_TRIES = 3


class Rates(NamedTuple):
    """What one processor thread does in a second."""

    operations: float = 4e10
    """Floating-point operations in matrix products."""
    bytes: float = 8e9
    """Bytes of weights that are read for a product with one vector."""

    def of(self, threads: int) -> Rates:
        """Return the same for several threads, as if each were as fast as one alone."""
        return Rates(self.operations * threads, self.bytes * threads)


#: What is assumed where nothing is measured.
USUAL = Rates()


def measured() -> Rates:
    """Return the rates of one thread of this machine.

    Processor time is counted, not the clock's, so that it makes no difference on how many threads the library computes
    and what else the machine is doing. The best of a few tries counts: the first ones load the library.
    """
    left, right = np.ones((_INNER, _INNER), np.float32), np.ones((_INNER, _OUTER), np.float32)
    weights, vector = np.ones((_ROWS, _LONG), np.float32), np.ones(_LONG, np.float32)
    product, reading = _seconds(lambda: left @ right), _seconds(lambda: weights @ vector)
    return Rates(2.0 * _INNER * _INNER * _OUTER / product, weights.nbytes / reading)


def _seconds(work: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(_TRIES):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return max(best, 1e-4)  # no clock is finer
