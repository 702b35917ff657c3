"""The procedure for many tables at once, made of the report's own parts; and the two tests that it replaced."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import special

from harness.report.components import grouping, spread, squared_reach, summed
from harness.report.detectable import SHARE, freedom, level_of, multiple, of_prompts, student
from harness.report.statistics import LEVEL

if TYPE_CHECKING:
    from simulation.worlds import World

    from harness.report.statistics import Array


class Judged(NamedTuple):
    """What is said of each pair of a family, in each of R tables."""

    estimate: Array
    margin: Array
    detectable: Array
    """(R, pairs)"""


def judged(tables: Array, world: World, *, every: bool = False) -> Judged:
    """Return what the report says of tables (R, M, S, E): against row 0, or of all pairs."""
    rows, seeds = tables.shape[1:3]
    pairs = list(itertools.combinations(range(rows), 2))
    means = tables.mean(-1)
    pool = np.mean([spread((means[:, i] - means[:, j])[..., None]).by_seed for i, j in pairs], axis=0)
    family = pairs if every else pairs[: rows - 1]
    known = grouping(world.groups) if world.groups is not None else None
    prompts = tables.shape[3] if known is None else len(known.sizes)
    tests, degrees = len(family), prompts - 1 if known is None else known.freedom
    by_seed = student(freedom(seeds, rows), level_of(tests))
    by_prompt = student(degrees, level_of(tests))
    found = []
    for i, j in family:
        values = tables[:, i] - tables[:, j]
        parts = spread(values if known is None else summed(values, known))
        shrunk = parts._replace(by_seed=(1 - SHARE) * parts.by_seed + SHARE * pool)
        reach = (by_seed, by_prompt), (multiple(rows, seeds, tests), of_prompts(degrees, tests))
        found.append([parts.mean, *(np.sqrt(squared_reach(shrunk, seeds, prompts, *each)) for each in reach)])
    estimate, margin, size = (np.stack(part, axis=-1) for part in zip(*found, strict=True))
    return Judged(estimate, margin, size)


def replaced(tables: Array, shift: float, *, flips: int = 2000) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which differences from row 0 the old rule called, when every other row is better by ``shift``.

    A sign-flip permutation test over prompts and a t-test over seeds both reject, after Holm's correction over all
    pairs: (R, M - 1).
    """
    tables = tables.copy()
    tables[:, 1:] += shift
    rows, seeds, prompts = tables.shape[1:]
    pairs = list(itertools.combinations(range(rows), 2))
    differences = np.stack([tables[:, i] - tables[:, j] for i, j in pairs], axis=1)  # (R, pairs, S, E)
    by_seed = differences.mean(-1)
    error = by_seed.std(-1, ddof=1) / seeds**0.5
    by_test = 2 * special.stdtr(seeds - 1, -np.abs(by_seed.mean(-1) / error))
    columns = differences.mean(-2)
    signs = np.random.default_rng(7).choice([-1.0, 1.0], (prompts, flips))
    observed = np.abs(columns.sum(-1)) * (1 - 1e-12)
    extreme = np.stack(
        [(np.abs(table @ signs) >= least[:, None]).sum(-1) for table, least in zip(columns, observed, strict=True)]
    )
    p = np.maximum(by_test, (1 + extreme) / (1 + flips))
    order = np.argsort(p, axis=1)
    passed = np.take_along_axis(p, order, 1) <= LEVEL / (len(pairs) - np.arange(len(pairs)))
    called = np.zeros_like(passed)
    np.put_along_axis(called, order, np.logical_and.accumulate(passed, axis=1), 1)
    return called[:, : rows - 1]
