"""The uncertainty that a ranking needs.

Scores of one row are a matrix (S, N): S seeds, N examples, each entry the mean over the draws; NaN inside these arrays
is a missing value, and is left out of every mean. Both seeds and examples are samples of something larger, so intervals
resample both, independently (a crossed bootstrap), and a difference counts only if it stands against both.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from scipy.special import stdtr, stdtrit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Array: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"

#: Fewer seeds than this support no claim about a difference.
SEEDS_FOR_CLAIMS = 3
LEVEL = 0.05
_REPLICATES = 2000
_FLIPS = 4999
_POWER = 0.8


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval, in the column's own unit."""

    mean: float
    low: float
    high: float


def mean(values: Array) -> float | None:
    """Return the mean of the present entries; None where there is none."""
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else None


def _along(values: Array, axis: int) -> Array:
    """Return means of the present entries along an axis; NaN where there is none."""
    present = ~np.isnan(values)
    counts = present.sum(axis)
    totals = np.where(present, values, 0.0).sum(axis)
    return np.where(counts > 0, totals / np.maximum(counts, 1), np.nan)


def interval(values: Array) -> Interval | None:
    """Return mean and 95 % percentile interval of an (S, N) matrix from the crossed bootstrap.

    The same replicates of seeds and examples are used for every matrix of the same shape, so intervals of two rows
    move together. None where nothing is present.
    """
    centre = mean(values)
    if centre is None:
        return None
    seeds, examples = _replicates(*values.shape)
    present = ~np.isnan(values)
    totals = ((seeds @ np.where(present, values, 0.0)) * examples).sum(1)
    counts = ((seeds @ present.astype(np.float64)) * examples).sum(1)
    means = totals[counts > 0] / counts[counts > 0]
    low, high = np.quantile(means, [LEVEL / 2, 1 - LEVEL / 2])
    return Interval(centre, float(low), float(high))


def seeds_interval(values: Array) -> Interval | None:
    """Return mean and, from three seeds on, 95 % t interval over seeds (S,) of what is no mean over examples."""
    present = values[~np.isnan(values)]
    if not present.size:
        return None
    centre = float(present.mean())
    if present.size < SEEDS_FOR_CLAIMS:  # with two, t is 12.7 and the interval says nothing
        return Interval(centre, float("nan"), float("nan"))
    half = float(stdtrit(present.size - 1, 1 - LEVEL / 2)) * float(present.std(ddof=1)) / present.size**0.5
    return Interval(centre, centre - half, centre + half)


@functools.lru_cache(maxsize=32)
def _replicates(seeds: int, examples: int) -> tuple[Array, Array]:
    generator = np.random.default_rng([20250119, seeds, examples])
    drawn_seeds = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=_REPLICATES)
    drawn_examples = generator.multinomial(examples, np.full(examples, 1 / examples), size=_REPLICATES)
    return drawn_seeds.astype(np.float64), drawn_examples.astype(np.float64)


@dataclass(frozen=True)
class Comparison:
    """Which rows of one column differ."""

    claims: bool
    """False with fewer than three seeds: nothing is claimed."""
    differs: Mapping[tuple[str, str], bool]
    """For each pair of rows, whether both tests reject after Holm's correction."""
    p_values: Mapping[tuple[str, str], float]
    """The larger of the two tests' p, before the correction."""
    letters: Mapping[str, str]
    """Rows that share a letter are tied; empty without claims."""
    detectable: float | None
    """The difference that would have been found four times in five, in the column's own unit."""

    def above(self, first: str, second: str) -> bool:
        """Return whether the two rows differ, whichever way they were named."""
        return self.differs.get((first, second), self.differs.get((second, first), False))


def compare(rows: Mapping[str, Array], *, better: int = 1) -> Comparison:
    """Compare the rows of one column, all on the same examples and seeds.

    Two rows differ only if a paired sign-flip permutation test over examples (differences averaged over seeds) and a
    paired t-test over the seeds' mean differences both reject, after Holm's correction over all pairs of the column.

    Args:
        rows: (S, N) by label.
        better: 1 where more is better, -1 where less is; orders the letters.
    """
    labels = list(rows)
    pairs = list(itertools.combinations(labels, 2))
    seeds = next(iter(rows.values())).shape[0] if rows else 0
    if not pairs or seeds < 2:
        return Comparison(claims=False, differs={}, p_values={}, letters={}, detectable=None)
    differences = {pair: rows[pair[0]] - rows[pair[1]] for pair in pairs}
    p_values = _permutation(differences)
    spreads = []
    for pair, difference in differences.items():
        p_seeds, spread = _paired_t(_along(difference, 1))
        p_values[pair] = max(p_values[pair], p_seeds)
        spreads.append(max(spread, _standard_error(difference)))
    rejected = holm(p_values)
    claims = seeds >= SEEDS_FOR_CLAIMS
    means = {label: mean(values) or 0.0 for label, values in rows.items()}
    order = sorted(labels, key=lambda label: -better * means[label])
    letters = letter_groups(order, {pair for pair, reject in rejected.items() if reject}) if claims else {}
    differs = rejected if claims else dict.fromkeys(pairs, False)
    detectable = _detectable(float(np.median(spreads)), seeds, len(pairs)) if claims else None
    return Comparison(claims, differs, p_values, letters, detectable)


def _permutation(differences: Mapping[tuple[str, str], Array]) -> dict[tuple[str, str], float]:
    """Return two-sided p of the sign-flip test over examples, all pairs with the same flips."""
    columns = np.stack([np.nan_to_num(_along(d, 0)) for d in differences.values()], axis=1)  # (N, pairs)
    observed = np.abs(columns.mean(0))
    extreme = np.zeros(columns.shape[1])
    generator = np.random.default_rng([20250120, columns.shape[0]])
    done = 0
    while done < _FLIPS:
        size = min(500, _FLIPS - done)
        signs = generator.integers(0, 2, size=(size, columns.shape[0])) * 2.0 - 1.0
        flipped = np.abs(signs @ columns) / columns.shape[0]
        extreme += (flipped >= observed * (1 - 1e-12)).sum(0)
        done += size
    return dict(zip(differences, ((1 + extreme) / (1 + _FLIPS)).tolist(), strict=True))


def _paired_t(differences: Array) -> tuple[float, float]:
    """Return two-sided p of the paired t-test over seeds, and the standard error of the mean difference."""
    count = differences.size
    error = float(differences.std(ddof=1)) / count**0.5
    centre = float(differences.mean())
    if error == 0.0:
        return (1.0 if centre == 0.0 else 0.0), 0.0
    return 2 * float(stdtr(count - 1, -abs(centre / error))), error


def _standard_error(difference: Array) -> float:
    examples = _along(difference, 0)
    examples = examples[~np.isnan(examples)]
    return float(examples.std(ddof=1)) / examples.size**0.5 if examples.size > 1 else 0.0


def holm(p_values: Mapping[tuple[str, str], float]) -> dict[tuple[str, str], bool]:
    """Return which hypotheses Holm's step-down procedure rejects at 5 % (Holm 1979)."""
    rejected = dict.fromkeys(p_values, False)
    for rank, (pair, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        if p > LEVEL / (len(p_values) - rank):
            break
        rejected[pair] = True
    return rejected


def _detectable(spread: float, seeds: int, pairs: int) -> float:
    """Return the difference that the t-test over seeds finds with 80 % power at the first step of Holm's correction."""
    strict = float(stdtrit(seeds - 1, 1 - LEVEL / (2 * pairs)))
    return (strict + float(stdtrit(seeds - 1, _POWER))) * spread


def letter_groups(order: Sequence[str], different: set[tuple[str, str]]) -> dict[str, str]:
    """Return a compact letter display (Piepho 2004): two rows share a letter if and only if they do not differ.

    Args:
        order: the rows, best first.
        different: pairs of rows that differ, in either order.
    """
    apart = {frozenset(pair) for pair in different}
    groups: list[set[str]] = [set(order)]
    for pair in apart:
        first, second = tuple(pair)
        split: list[set[str]] = []
        for group in groups:
            split += [group - {first}, group - {second}] if pair <= group else [group]
        groups = [g for i, g in enumerate(split) if not any(g < o or (g == o and i > j) for j, o in enumerate(split))]
    groups.sort(key=lambda group: [label not in group for label in order])
    return {
        label: "".join(chr(ord("a") + index) for index, group in enumerate(groups) if label in group) for label in order
    }
