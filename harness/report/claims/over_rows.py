"""Claims about all rows of a run together: how two columns rank them, and how far they spread with two models.

Neither is a mean, so the interval is a crossed bootstrap of seeds and prompts, the same draws for all rows. Few seeds
make it too short: its ends are moved away from the estimate by t(S - 1) / z, and by sqrt(S / (S - 1)) for the variance
that a bootstrap of S loses.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np
import scipy

from harness.report.claims.evidence import ClaimCell, Finding, conclude
from harness.report.claims.needs import find_row, split_models
from harness.report.claims.places import of_model, spots, standing, values
from harness.report.claims.standing import about_tuned
from harness.report.statistics import LEVEL, SEEDS_FOR_CLAIMS, Interval, replicates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.report.claims.catalogue import Claim
    from harness.report.claims.evidence import Word
    from harness.report.claims.needs import Needs
    from harness.report.claims.places import Spot
    from harness.report.results import ResultRow, Results
    from harness.report.statistics import Array

#: Of fewer rows even a perfect order is no more than chance: one of 24 orders of four.
ROWS_FOR_RANKS = 5
#: So many rows have all their orders tried, and of more so many are drawn.
_ALL_ORDERS, _ORDERS = 7, 20_000


def rank(claim: Claim, needs: Needs, results: Results, no_claim: str) -> Finding:
    """Rows that have more of one column have more of another: Spearman's rank correlation of their means.

    Supported, in every place: the interval, for new seeds and prompts and these rows, lies above 0, and of all orders
    of the rows at most one in twenty correlates as much. Contradicted, somewhere: likewise below 0, at a level for all
    places together. A row whose first column is 0 throughout is what the others are measured from, and is left out.
    """
    cells = []
    pairs = _pairs(claim, needs, results)
    for where, first, second in pairs:
        cells.append(_ranked(where, first, second, len(pairs), no_claim))
    return conclude(cells, no_claim)


def _pairs(claim: Claim, needs: Needs, results: Results) -> list[tuple[str, Array, Array]]:
    """Return both columns of all rows (R, S, N) in every place."""
    pairs = []
    for model in needs.models:
        rows = [row for label in needs.rows[model] if (row := find_row(results, model, label)) is not None]
        by_dataset: dict[str, list[Spot]] = {}
        for spot in spots(claim, needs, results):
            by_dataset.setdefault(spot.dataset, []).append(spot)
        for dataset, both in by_dataset.items():
            if len(both) != len(claim.columns):
                continue
            found = [_stacked(results, spot, rows) for spot in both]
            there = [
                index
                for index in range(len(rows))
                if all(len(stack[index]) for stack in found) and np.any(found[0][index] != 0.0)
            ]
            if there:
                first, second = (np.stack([stack[index] for index in there]) for stack in found)
                what = f"{both[0].described.label} and {both[1].described.label}"
                pairs.append((f"{dataset} {what}, {len(there)} rows{of_model(model, needs)}", first, second))
    return pairs


def _stacked(results: Results, spot: Spot, rows: Sequence[ResultRow]) -> list[Array]:
    """Return the values of every row on the seeds and prompts that are complete in all; () for a row without any."""
    found = [values(results, spot, row) for row in rows]
    there = [one for one in found if one is not None and not np.isnan(one).all()]
    if not there:
        return [np.empty(0)] * len(rows)
    total = np.sum(there, axis=0)
    seeds = ~np.isnan(total).all(1)
    prompts = ~np.isnan(total[seeds]).any(0)
    return [
        np.empty(0) if one is None or np.isnan(one).all() else np.asarray(one[seeds][:, prompts], dtype=np.float64)
        for one in found
    ]


def _ranked(where: str, first: Array, second: Array, tests: int, no_claim: str) -> ClaimCell:
    rows, seeds = len(first), first.shape[1]
    estimate = float(correlation(first.mean((1, 2)), second.mean((1, 2))))
    chance = chance_of(first.mean((1, 2)), second.mean((1, 2)))
    said = f"{where}, chance {chance:.2g}"
    if rows < ROWS_FOR_RANKS or min(seeds, second.shape[1]) < SEEDS_FOR_CLAIMS or math.isnan(estimate):
        few = f"a rank correlation takes {ROWS_FOR_RANKS} rows that differ and {SEEDS_FOR_CLAIMS} seeds"
        unknown = None if math.isnan(estimate) else Interval(estimate, math.nan, math.nan)
        return ClaimCell(said, unknown, unit="rank correlation", needed=few)
    level = LEVEL if estimate > 0 else LEVEL / tests
    drawn = correlation(resampled(first), resampled(second))
    low, high = np.quantile(drawn, [level / 2, 1 - level / 2])
    wider = widened(seeds, level)
    ends = Interval(
        estimate,
        max(-1.0, estimate - wider * (estimate - min(float(low), estimate))),
        min(1.0, estimate + wider * (max(float(high), estimate) - estimate)),
    )
    word: Word = "undecided"
    if chance <= level and not no_claim:
        word = "supported" if ends.low > 0 else "contradicted" if ends.high < 0 else "undecided"
    needed = "more seeds, or more rows, would decide" if chance <= level else "more rows would decide"
    return ClaimCell(said, ends, unit="rank correlation", word=word, needed="" if word != "undecided" else needed)


def spread(claim: Claim, needs: Needs, results: Results, no_claim: str) -> Finding:
    """Rows spread more with one model than with another: the difference of the ranges of their means.

    A range is larger than the true one by what is noise. Both have that, and a basic bootstrap interval takes off what
    the replicates have once more. Seeds of two models are drawn apart, for they share nothing; prompts are the same.
    """
    wide, narrow = split_models(claim, results.manifest)
    tuned = about_tuned(claim, results.manifest)
    where = [(spot, *pair) for spot in spots(claim, needs, results) for pair in itertools.product(wide, narrow)]
    cells = []
    for spot, first, second in where:
        found = []
        for model in (first, second):
            rows = [standing(name, model, results, tuned=tuned) for name in claim.others]
            stacked = _stacked(results, spot, [row for row in rows if row is not None])
            found.append([one for one in stacked if len(one)])
        if min(map(len, found)) > 1:
            text = f"{spot.text}: spread of {len(found[0])} rows with {first} less that with {second}"
            cells.append(_spread(text, spot, np.stack(found[0]), np.stack(found[1]), len(where), no_claim))
    return conclude(cells, no_claim)


def _spread(where: str, spot: Spot, first: Array, second: Array, tests: int, no_claim: str) -> ClaimCell:
    described = spot.described
    estimate = _range(first.mean((1, 2))) - _range(second.mean((1, 2)))
    cell = ClaimCell(where, Interval(estimate, math.nan, math.nan), described.scale, described.digits, described.unit)
    seeds = min(first.shape[1], second.shape[1])
    if seeds < SEEDS_FOR_CLAIMS:
        return cell
    level = LEVEL if estimate > 0 else LEVEL / tests
    drawn = np.ptp(resampled(first), axis=1) - np.ptp(resampled(second, apart=True), axis=1)
    low, high = np.quantile(drawn, [level / 2, 1 - level / 2])
    wider = widened(seeds, level)
    ends = Interval(
        estimate,
        estimate - wider * max(float(high) - estimate, 0.0),
        estimate + wider * max(estimate - float(low), 0.0),
    )
    word: Word = "undecided"
    if not no_claim:
        word = "supported" if ends.low > 0 else "contradicted" if ends.high < 0 else "undecided"
    needed = "more seeds would decide" if word == "undecided" else ""
    return ClaimCell(where, ends, described.scale, described.digits, described.unit, word, None, needed)


def _range(means: Array) -> float:
    return float(np.ptp(means))


def resampled(scores: Array, *, apart: bool = False) -> Array:
    """Return each replicate's means (B, R) of rows' complete values (R, S, N).

    Args:
        scores: of all rows, on the same seeds and prompts.
        apart: whether other seeds are drawn than without; prompts stay the same.
    """
    seeds, prompts = replicates(*scores.shape[1:])
    if apart:
        seeds = seeds[::-1]
    size = scores.shape[1] * scores.shape[2]
    return np.stack([((seeds @ row) * prompts).sum(1) / size for row in scores], axis=1)


def widened(seeds: int, level: float) -> float:
    """Return by how much the ends of a bootstrap interval of so many seeds are moved away from the estimate."""
    student = float(scipy.special.stdtrit(seeds - 1, 1 - level / 2))
    return student / float(scipy.special.ndtri(1 - level / 2)) * math.sqrt(seeds / (seeds - 1))


def correlation(first: Array, second: Array) -> Array:
    """Return Spearman's rank correlation along the last axis; equal values share their mean rank; NaN for one value."""
    ranks = [_ranks(part) for part in (first, second)]
    centred = [part - part.mean(-1, keepdims=True) for part in ranks]
    size = np.sqrt((centred[0] ** 2).sum(-1) * (centred[1] ** 2).sum(-1))
    both = (centred[0] * centred[1]).sum(-1)
    return np.where(size > 0, both / np.where(size > 0, size, 1.0), np.nan)


def _ranks(part: Array) -> Array:
    below = (part[..., :, None] > part[..., None, :]).sum(-1)
    return np.asarray(below + 0.5 * (part[..., :, None] == part[..., None, :]).sum(-1), dtype=np.float64)


def chance_of(first: Array, second: Array) -> float:
    """Return which share of all orders of the rows correlates as much as they do, either way; drawn for many rows."""
    observed = abs(float(correlation(first, second)))
    if math.isnan(observed):
        return 1.0
    if len(first) <= _ALL_ORDERS:
        orders = np.array(list(itertools.permutations(range(len(first)))))
    else:
        generator = np.random.default_rng([20261130, len(first)])
        orders = generator.permuted(np.tile(np.arange(len(first)), (_ORDERS, 1)), axis=1)
    others = np.abs(correlation(np.broadcast_to(first, orders.shape), second[orders]))
    return float((others >= observed - 1e-9).mean())
