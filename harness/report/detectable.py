"""The minimum detectable effect: the true difference that is found four times in five, by the model that finds it."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import numpy as np
import scipy

from harness.report.components import Components, Spread, expected, squared_reach
from harness.report.statistics import LEVEL, POWER, SEEDS_FOR_CLAIMS

if TYPE_CHECKING:
    from collections.abc import Callable

#: How much of a pair's seed variance is the column's: a fixed share, never estimated from the data.
SHARE = 0.3
_DRAWS = 20_000
#: How many repetitions each drawn run has.
_REPEATED = 8
#: How closely a root is found.
_CLOSE = 1e-6


def level_of(tests: int) -> float:
    """Return the level of each of so many tests together at 5 % (Šidák 1967)."""
    return float(-math.expm1(math.log1p(-LEVEL) / tests))


def freedom(seeds: int, rows: int, share: float = SHARE, fewest: int | None = None) -> float:
    """Return the degrees of freedom of a seed variance that is shrunk by ``share`` towards the mean over all pairs.

    The pair's own variance has S - 1 of them, the mean over the pairs of M rows, of which it is one, about
    (M - 1)(S - 1).

    Args:
        seeds: of the pair.
        rows: M, of the column; 2 where nothing is borrowed.
        share: of the column's variance.
        fewest: seeds of the pair that has the fewest.
    """
    own = (1 - share) ** 2
    return 1 / (own / (seeds - 1) + (1 - own) / ((rows - 1) * ((fewest or seeds) - 1)))


@functools.lru_cache(maxsize=256)
def multiple(rows: int, seeds: int, tests: int, share: float = SHARE) -> float:
    """Return K: a difference of K standard errors, of seeds, is found four times in five.

    The variances are uncertain in the run that was made and in the one that would be, and independent of each other:
    with R² a shrunk variance of standard normal seeds and R' another, K solves mean Φ(K R' - t R) = 0.8. Simulated with
    a fixed seed; accurate to about 0.05.

    Args:
        rows: M, of the column.
        seeds: S.
        tests: how many are corrected for together.
        share: of the column's variance; 0 borrows nothing.
    """
    generator = np.random.default_rng([20261129, rows, seeds])
    total, squares = np.zeros((_DRAWS, seeds)), np.zeros(_DRAWS)
    drawn: list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]] = []
    for index in range(rows):
        values = generator.standard_normal((_DRAWS, seeds))
        values -= values.mean(1, keepdims=True)
        if index < 2:
            drawn.append(values)
        total += values
        squares += (values**2).sum(1)
    own = ((drawn[0] - drawn[1]) ** 2).sum(1) / (2 * (seeds - 1))
    # the mean over all pairs of the squared distance, from sums alone
    pool = (rows * squares - (total**2).sum(1)) / (rows * (rows - 1) * (seeds - 1))
    measured = np.sqrt((1 - share) * own + share * pool)
    repeated = np.stack([measured[generator.permutation(_DRAWS)] for _ in range(_REPEATED)])
    strict = student(freedom(seeds, rows, share), level_of(tests))

    def short(size: float) -> float:
        return float(scipy.special.ndtr(size * measured - strict * repeated).mean()) - POWER

    return _root(short, strict)


def _root(rising: Callable[[float], float], near: float) -> float:
    """Return where a rising function is 0, to 1e-6: by false position, with the Illinois rule (Dowell & Jarratt 1971).

    scipy's own search would do, and takes as long to import as all searches of a plan take.
    """
    low, high = 0.5 * near, 1.5 * near
    below, above = rising(low), rising(high)
    while below > 0:
        low, high, above = 0.5 * low, low, below
        below = rising(low)
    while above < 0:
        low, below, high = high, above, 2 * high
        above = rising(high)
    side = 0
    while high - low > _CLOSE:
        point = (low * above - high * below) / (above - below)
        value = rising(point)
        if value == 0:
            return point
        if value < 0:
            step, low, below = point - low, point, value
            above = above / 2 if side < 0 else above
            side = -1
        else:
            step, high, above = high - point, point, value
            below = below / 2 if side > 0 else below
            side = 1
        if step < _CLOSE:
            return point
    return (low + high) / 2


def student(freedom: float, level: float) -> float:
    """Return Student's two-sided critical value."""
    return -float(scipy.special.stdtrit(freedom, level / 2))


def detectable(
    variances: Spread,
    seeds: int,
    prompts: int,
    *,
    rows: int,
    tests: int,
    share: float = SHARE,
    among: float | None = None,
) -> float:
    """Return the minimum detectable effect at power 0.8, in the column's own unit: what a repetition of the run finds.

    Args:
        variances: of the difference; that of seeds shrunk already.
        seeds: S.
        prompts: E, or groups of them.
        rows: M, of the column; 2 where nothing is borrowed.
        tests: how many are corrected for together.
        share: of the column's variance.
        among: degrees of freedom of a mean over prompts or groups; E - 1 unless given.
    """
    if seeds < SEEDS_FOR_CLAIMS or prompts < 2:
        return math.nan
    by_prompt = of_prompts(prompts - 1 if among is None else among, tests)
    return math.sqrt(float(squared_reach(variances, seeds, prompts, multiple(rows, seeds, tests, share), by_prompt)))


def of_prompts(freedom: float, tests: int) -> float:
    """Return how many standard errors, of prompts, are found four times in five: t + z(0.8)."""
    return student(freedom, level_of(tests)) + float(scipy.special.ndtri(POWER))


def planned(components: Components, seeds: int, prompts: int, *, rows: int, tests: int) -> float:
    """Return the difference that a run with so many seeds and prompts would find, if its variances are these."""
    if seeds < SEEDS_FOR_CLAIMS or prompts < 2:
        return math.nan
    return detectable(expected(components, seeds, prompts), seeds, prompts, rows=rows, tests=tests)
