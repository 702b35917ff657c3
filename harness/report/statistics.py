"""The uncertainty that a ranking needs.

Scores of one row are a matrix (S, N): S seeds, N examples, each entry the mean over the draws; NaN inside these arrays
is a missing value, and is left out of every mean. Both seeds and examples are samples of something larger, so intervals
resample both, independently (a crossed bootstrap), and a difference counts only if it stands against both.
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
    from collections.abc import Iterator, Mapping, Sequence

Array: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
Pair: TypeAlias = "tuple[str, str]"

#: Fewer seeds than this support no claim about a difference.
SEEDS_FOR_CLAIMS = 3
LEVEL = 0.05
#: How often a difference that is there should be found.
POWER = 0.8
_REPLICATES = 2000
_FLIPS = 5000
#: Flips that are worked on together; the generator gives the same ones for every multiple of four.
_BATCH = 100
#: Numbers of a bootstrap that are worked on together: half a megabyte.
_TOGETHER = 2**16
#: Up to this many examples every pattern of signs is tried.
_EXACT = 12


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval, in the column's own unit; both ends are NaN where nothing is known of it."""

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


def interval(values: Array) -> Interval | None:
    """Return mean and 95 % interval of an (S, N) matrix; None where nothing is present.

    A crossed bootstrap (Owen 2007, "The pigeonhole bootstrap") resamples seeds and examples independently. Percentiles
    of a few seeds reach too short: two seeds that carry all the variance cover 50 % instead of 95 %. So the distance
    of each percentile from the mean is widened by t(v) / z, with Satterthwaite's degrees of freedom v of the two-way
    layout: about 1 where prompts and noise carry the variance, Student's factor for S - 1 where seeds do.

    With one seed the interval is over examples alone. The replicates are the same for every matrix of one shape, so
    intervals of two rows move together.
    """
    centre = mean(values)
    if centre is None:
        return None
    present = ~np.isnan(values)
    values, present = values[present.any(1)][:, present.any(0)], present[present.any(1)][:, present.any(0)]
    if values.size == 1:
        return Interval(centre, math.nan, math.nan)
    totals = _replicated(np.where(present, values, 0.0))
    counts = values.size - _absent(~present)
    means = totals[counts > 0] / counts[counts > 0]
    low, high = np.quantile(means, [LEVEL / 2, 1 - LEVEL / 2])
    wider = widening(values)
    return Interval(centre, centre - wider * (centre - float(low)), centre + wider * (float(high) - centre))


def _replicated(values: Array) -> Array:
    """Return the sum (R,) of what each replicate draws of an (S, N) matrix without missing entries.

    A few replicates at a time, whose products stay in the processor's cache; every sum has the same terms in the same
    order, however many that are.
    """
    seeds, examples = replicates(*values.shape)
    totals = np.empty(len(seeds))
    size = max(1, _TOGETHER // values.shape[1])
    for start in range(0, len(seeds), size):
        part = slice(start, start + size)
        drawn = seeds[part] @ values
        drawn *= examples[part]
        drawn.sum(1, out=totals[part])
    return totals


def _absent(missing: np.ndarray[Any, np.dtype[np.bool_]]) -> Array:
    """Return how many missing entries (R,) of an (S, N) matrix each replicate draws, from the examples that have one.

    These are whole numbers, so that the order of the sum changes nothing.
    """
    seeds, examples = replicates(*missing.shape)
    some = missing.any(0)
    found: Array = ((examples[:, some] @ missing[:, some].T.astype(np.float64)) * seeds).sum(1)
    return found


def widening(values: Array) -> float:
    """Return how much wider than its percentiles the bootstrap interval of an (S, N) matrix must be: t(v) / z."""
    present = ~np.isnan(values)
    kept = values[present.any(1)][:, present.any(0)]
    if kept.size <= 1:
        return 1.0
    return float(scipy.special.stdtrit(_freedom(kept), 1 - LEVEL / 2) / scipy.special.ndtri(1 - LEVEL / 2))


def seeds_interval(values: Array) -> Interval | None:
    """Return mean and, from three seeds on, 95 % t interval over seeds (S,) of what is no mean over examples."""
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


def _permutation(differences: Mapping[Pair, Array]) -> dict[Pair, float]:
    """Return two-sided p of the sign-flip test over examples, all pairs with the same flips.

    An example that one of the two rows has no value for counts as no difference. Up to 12 examples the test is exact.
    """
    columns = np.stack([np.nan_to_num(_along(d, 0)) for d in differences.values()], axis=1)  # (N, pairs)
    examples, pairs = columns.shape
    observed = np.abs(columns.sum(0))
    least = observed * (1 - 1e-12) - 1e-300  # what is equal but for rounding is as extreme
    # as many flips as let the smallest possible p pass the first, strictest step of Holm's correction
    count = 2**examples if examples <= _EXACT else max(_FLIPS, math.ceil(2 * pairs / LEVEL))
    extreme = np.zeros(pairs)
    for signs in _signs(examples, count):
        extreme += (np.abs(signs @ columns) >= least).sum(0)
    p = extreme / count if examples <= _EXACT else (1 + extreme) / (1 + count)
    return dict(zip(differences, p.tolist(), strict=True))


def _signs(examples: int, count: int) -> Iterator[Array]:
    """Give ``count`` rows of signs, in batches: all of them for few examples, else the same random ones every time."""
    if examples <= _EXACT:
        every = (np.arange(count)[:, None] >> np.arange(examples)) & 1
        yield every.astype(np.float64) * 2 - 1
        return
    generator = np.random.default_rng([20250120, examples])
    for start in range(0, count, _BATCH):
        packed = np.frombuffer(generator.bytes(_BATCH * ((examples + 7) // 8)), dtype=np.uint8).reshape(_BATCH, -1)
        bits = np.unpackbits(packed, axis=1)[: count - start, :examples]
        signs = bits.astype(np.float64)
        signs *= 2
        signs -= 1
        yield signs


def _paired_t(difference: Array) -> float:
    """Return two-sided p of the paired t-test over the seeds that both rows have; 1 for fewer than three."""
    seeds = per_seed(difference)
    if seeds.size < SEEDS_FOR_CLAIMS:
        return 1.0
    centre, error = float(seeds.mean()), _error(seeds)
    if error == 0.0:
        return 1.0 if centre == 0.0 else 0.0
    return 2 * float(scipy.special.stdtr(seeds.size - 1, -abs(centre / error)))


def paired(difference: Array) -> float:
    """Return the two-sided p of one (S, N) difference: the larger of a permutation and a t-test's.

    A sign-flip permutation test over examples (differences averaged over seeds), and a paired t-test over seeds.
    """
    return max(_permutation({("", ""): difference})[("", "")], _paired_t(difference))


def per_seed(difference: Array) -> Array:
    """Return the mean differences of the seeds that both rows have."""
    seeds = _along(difference, 1)
    return seeds[~np.isnan(seeds)]


def _error(values: Array) -> float:
    return float(values.std(ddof=1)) / values.size**0.5 if values.size > 1 else 0.0


def holm(p_values: Mapping[Pair, float]) -> dict[Pair, bool]:
    """Return which hypotheses Holm's step-down procedure rejects at 5 % (Holm 1979)."""
    rejected = dict.fromkeys(p_values, False)
    for rank, (pair, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        if p > LEVEL / (len(p_values) - rank):
            break
        rejected[pair] = True
    return rejected


def letter_groups(order: Sequence[str], different: set[Pair]) -> dict[str, str]:
    """Return a letter display: two rows share a letter if and only if they do not differ.

    Each letter is a largest group of rows of which none differ, taken in their order until every such pair has one;
    after ``z`` come ``a1``, ``b1`` and so on.

    Args:
        order: the rows, best first.
        different: pairs of rows that differ, in either order.
    """
    apart = {frozenset(pair) for pair in different}
    tied = {frozenset(pair) for pair in itertools.combinations(order, 2)} - apart
    groups: list[list[str]] = []
    for pair in itertools.combinations(order, 2):
        if frozenset(pair) in tied and not any(set(pair) <= set(group) for group in groups):
            group = list(pair)
            for row in order:
                if row not in group and all(frozenset((row, other)) in tied for other in group):
                    group.append(row)
            groups.append(group)
    groups += [[row] for row in order if not any(row in group for group in groups)]
    groups.sort(key=lambda group: [row not in group for row in order])
    return {label: "".join(_letter(index) for index, group in enumerate(groups) if label in group) for label in order}


def _letter(index: int) -> str:
    return chr(ord("a") + index % 26) + (str(index // 26) if index >= 26 else "")
