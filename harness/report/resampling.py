"""What could have come out with other seeds and other prompts, of rows on several data sets at once.

The crossed bootstrap of :mod:`harness.report.statistics` (Owen 2007), over data sets: a seed is drawn for all of them,
since one training run answers all, and for all rows, since they share the supervised start; prompts are drawn for each
data set by itself, or in their groups. Percentiles of a few seeds reach too short, so that replicates can be moved away
from the estimate, as far as a t interval is wider than a normal one.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from harness.report.components import GROUPS_FOR_CLAIMS
from harness.report.statistics import LEVEL, SEEDS_FOR_CLAIMS, widening

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.report.statistics import Array

#: Replicates.
DRAWN = 1000
#: The share that an interquartile mean leaves out at either end.
_QUARTER = 0.25


class Sampled(NamedTuple):
    """One row on T data sets."""

    means: Array
    """(S, T): the mean over prompts of each seed."""
    draws: Array | None
    """(R, S, T), the same for every replicate; None where too little is known for an interval."""
    wider: Array
    """(T,): how much further from the means the replicates ought to be."""

    def moved(self, wider: Array) -> Array:
        """Return the replicates, that much further from the means."""
        assert self.draws is not None
        return self.means + wider * (self.draws - self.means)


def sampled(values: Sequence[Array], groups: Sequence[Sequence[str] | None]) -> Sampled:
    """Return a row's means and their replicates.

    Args:
        values: for each data set (S, N): one value a seed and prompt, NaN for what is missing.
        groups: for each data set the group of each prompt, or None.
    """
    means = np.stack([_means(part, np.ones((1, part.shape[1])))[0] for part in values], axis=1)
    seeds = len(means)
    wider = np.array([widening(part) for part in values])
    too_few = any(of is not None and len(set(of)) < GROUPS_FOR_CLAIMS for of in groups)
    if seeds < SEEDS_FOR_CLAIMS or too_few or np.isnan(means).any():
        return Sampled(means, None, wider)
    sets = enumerate(zip(values, groups, strict=True))
    drawn = np.stack([_means(part, _counts(number, part.shape[1], of)) for number, (part, of) in sets], axis=2)
    return Sampled(means, np.take_along_axis(drawn, _seeds(seeds)[:, :, None], axis=1), wider)


def interquartile(scores: Array) -> Array:
    """Return the mean of the middle half of (..., S, T) scores (Agarwal et al. 2021); a quarter is rounded down."""
    flat = np.sort(scores.reshape(*scores.shape[:-2], -1), axis=-1)
    out = int(_QUARTER * flat.shape[-1])
    middle: Array = flat[..., out : flat.shape[-1] - out].mean(-1)
    return middle


def improvement(first: Array, second: Array) -> Array:
    """Return how often a seed of one row scores more than one of another, both (..., S, T), over data sets.

    A tie is half a time (Agarwal et al. 2021: the mean over tasks of Mann and Whitney's statistic).
    """
    apart = first[..., :, None, :] - second[..., None, :, :]
    share: Array = ((apart > 0) + 0.5 * (apart == 0)).mean((-3, -2, -1))
    return share


def ranks(scores: Array) -> Array:
    """Return the rank of each of (..., M) scores, 1 for the highest; equal ones share the better rank."""
    ahead: Array = (scores[..., None, :] > scores[..., :, None]).sum(-1)
    return ahead + 1.0


def ends(draws: Array) -> tuple[float, float]:
    """Return the ends of a 95 % percentile interval of replicates (R,)."""
    low, high = np.quantile(draws, [LEVEL / 2, 1 - LEVEL / 2])
    return float(low), float(high)


def _means(values: Array, counts: Array) -> Array:
    """Return the mean of each seed (R, S) with each prompt taken as often as ``counts`` (R, N) says."""
    present = ~np.isnan(values)
    total = counts @ np.where(present, values, 0.0).T
    taken = counts @ present.T.astype(np.float64)
    return np.where(taken > 0, total / np.maximum(taken, 1.0), np.nan)


@functools.lru_cache(maxsize=32)
def _seeds(seeds: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.random.default_rng([20210830, seeds]).integers(seeds, size=(DRAWN, seeds))


def _counts(number: int, prompts: int, groups: Sequence[str] | None) -> Array:
    """Return how often each replicate draws each prompt (R, N) of a data set, with all of its group."""
    if groups is None:
        return _drawn(number, prompts)
    names, place = np.unique(np.asarray(groups), return_inverse=True)
    return _drawn(number, len(names))[:, place.reshape(-1)]


@functools.lru_cache(maxsize=32)
def _drawn(number: int, units: int) -> Array:
    generator = np.random.default_rng([20210830, number, units])
    return generator.multinomial(units, np.full(units, 1 / units), size=DRAWN).astype(np.float64)
