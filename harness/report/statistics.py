"""Parts of which the report's statistics are made: means, intervals over seeds, bootstrap replicates, letters.

Scores of one row are a matrix (S, N): S seeds, N examples, each entry the mean over the draws; NaN inside these arrays
is a missing value, and is left out of every mean. Which rows differ is decided in :mod:`harness.report.differences`.
The crossed bootstrap here resamples seeds and examples independently (Owen 2007, "The pigeonhole bootstrap"); it serves
what is not a mean: strengths and length-controlled win rates, which are fits.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import scipy  # its parts are imported when they are first used, and a report may need none

if TYPE_CHECKING:
    from collections.abc import Sequence

Array: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
Pair: TypeAlias = "tuple[str, str]"

#: Fewer seeds than this support no claim about a difference.
SEEDS_FOR_CLAIMS = 3
LEVEL = 0.05
#: How often a difference that is there should be found.
POWER = 0.8
_REPLICATES = 2000


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % confidence interval, in the column's own unit; both ends are NaN where it is not known."""

    mean: float
    low: float
    high: float

    @property
    def known(self) -> bool:
        """Whether there is more than the mean."""
        return not math.isnan(self.low)

    @property
    def reach(self) -> float:
        """The distance from the mean to the end that is further away."""
        return max(self.high - self.mean, self.mean - self.low)


def mean(values: Array) -> float | None:
    """Return the mean of the present entries; None where there is none."""
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else None


def widening(values: Array) -> float:
    """Return how much wider than its percentiles the bootstrap interval of an (S, N) matrix must be: t(v) / z.

    Percentiles of a few seeds reach too short: two seeds that carry all the variance cover 50 % instead of 95 %. v is
    Satterthwaite's degrees of freedom of the two-way layout: the factor is about 1 where prompts and noise carry the
    variance, Student's for S - 1 where seeds do.
    """
    present = ~np.isnan(values)
    kept = values[present.any(1)][:, present.any(0)]
    if kept.size <= 1:
        return 1.0
    return float(scipy.special.stdtrit(_freedom(kept), 1 - LEVEL / 2) / scipy.special.ndtri(1 - LEVEL / 2))


def seeds_interval(values: Array) -> Interval | None:
    """Return mean and, from three seeds on, 95 % t interval over seeds (S,) of what is not a mean over examples."""
    present = values[~np.isnan(values)]
    if not present.size:
        return None
    centre = float(present.mean())
    if present.size < SEEDS_FOR_CLAIMS:  # with two, t is 12.7 and the interval says nothing
        return Interval(centre, math.nan, math.nan)
    student = float(scipy.special.stdtrit(present.size - 1, 1 - LEVEL / 2))
    half = student * float(present.std(ddof=1)) / present.size**0.5
    return Interval(centre, centre - half, centre + half)


def _along(values: Array, axis: int) -> Array:
    """Return means of the present entries along an axis; NaN where there is none."""
    present = ~np.isnan(values)
    counts = present.sum(axis)
    totals = np.where(present, values, 0.0).sum(axis)
    return np.where(counts > 0, totals / np.maximum(counts, 1), np.nan)


def _freedom(values: Array) -> float:
    """Return Satterthwaite's degrees of freedom of the mean of an (S, N) matrix without empty rows or columns."""
    squares = [
        (size * float(_along(values, 1 - axis).var(ddof=1)), values.shape[axis] - 1)
        for axis, size in ((0, values.shape[1]), (1, values.shape[0]))
        if values.shape[axis] > 1
    ]
    total = sum(square for square, _ in squares)
    if total == 0.0:
        return math.inf
    return float(1 / sum((square / total) ** 2 / freedom for square, freedom in squares))


@functools.lru_cache(maxsize=32)
def replicates(seeds: int, examples: int) -> tuple[Array, Array]:
    """Return how often each replicate draws each seed (R, S) and each example (R, N): the same for every matrix."""
    generator = np.random.default_rng([20250119, seeds, examples])
    drawn_seeds = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=_REPLICATES)
    drawn_examples = generator.multinomial(examples, np.full(examples, 1 / examples), size=_REPLICATES)
    return drawn_seeds.astype(np.float64), drawn_examples.astype(np.float64)


def letter_groups(order: Sequence[str], different: set[Pair]) -> dict[str, str]:
    """Return a letter display: two rows share a letter if and only if they do not differ.

    Each letter is a largest group of rows of which none differ, taken in their order until every such pair has one;
    after ``z`` come ``a1``, ``b1`` and so on.

    Args:
        order: the rows, best first.
        different: pairs of rows that differ, in either order.
    """
    apart = {frozenset(pair) for pair in different}
    alike = {frozenset(pair) for pair in itertools.combinations(order, 2)} - apart
    groups: list[list[str]] = []
    for pair in itertools.combinations(order, 2):
        if frozenset(pair) in alike and not any(set(pair) <= set(group) for group in groups):
            group = list(pair)
            for row in order:
                if row not in group and all(frozenset((row, other)) in alike for other in group):
                    group.append(row)
            groups.append(group)
    groups += [[row] for row in order if not any(row in group for group in groups)]
    groups.sort(key=lambda group: [row not in group for row in order])
    return {label: "".join(_letter(index) for index, group in enumerate(groups) if label in group) for label in order}


def _letter(index: int) -> str:
    return chr(ord("a") + index % 26) + (str(index // 26) if index >= 26 else "")
