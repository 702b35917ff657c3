"""Why a number is not there: what failed is told apart from what is only not stored, or was never asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harness.report.results import FAILED, NOT_EVALUATED, NOT_RUN, NOT_SCORED, NOT_STORED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.report.results import ResultRow


#: There are answers, and none of them has a number here.
NO_VALUE = "no value"


def no_training(row: ResultRow, seed: int) -> str:
    """Return why a row's own training with a seed is not there; empty where it is."""
    if seed in row.training:
        return ""
    described = row.described.seeds.get(seed)
    if described is None:
        return NOT_RUN
    return FAILED if seed in row.failures or not all(described.train) else NOT_STORED


def no_answers(row: ResultRow, seed: int, dataset: str, decoding: str) -> str:
    """Return why a row's answers with a seed are not there; empty where they are."""
    described = row.described.seeds.get(seed)
    if described is None:
        return NOT_RUN
    stages = described.evaluations.get(dataset, {}).get(decoding)
    if stages is None:
        return FAILED if seed in row.failures else NOT_EVALUATED
    if stages.generate is None:
        return FAILED
    return "" if seed in row.cells[dataset, decoding].summaries else NOT_STORED


def no_score(row: ResultRow, seed: int, dataset: str, decoding: str, column: str) -> str:
    """Return why a row has no number in METRIC.COLUMN with a seed; empty where it has one."""
    if reason := no_answers(row, seed, dataset, decoding):
        return reason
    metric, _, name = column.partition(".")
    scored = row.cells[dataset, decoding].scores.get(metric, {}).get(seed)
    if scored is None:
        scores = row.described.seeds[seed].evaluations[dataset][decoding].scores
        return NOT_SCORED if metric not in scores else NOT_STORED if scores[metric] else FAILED
    numbers = scored.columns.get(name)
    if numbers is None:
        return NOT_SCORED
    return NO_VALUE if np.isnan(numbers).all() else ""


def of_all(reasons: Iterable[str]) -> str:
    """Return one reason for several seeds, of which none has a number: a failure before anything else."""
    given = [reason for reason in reasons if reason]
    return FAILED if FAILED in given else next(iter(given), NOT_STORED)
