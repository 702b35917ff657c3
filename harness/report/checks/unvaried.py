"""Columns that all seeds have alike, prompt by prompt, though the answers differ: their metric does not see these."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from harness.spec.results.generate import Answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.api.registration import Column
    from harness.report.results import ResultRow, Results
    from harness.report.statistics import Array
    from harness.spec.results.run import RunMetric

#: How often another answer to a prompt is taken to score the same by chance: where the value is an end of the column's
#: range (right, wrong), and elsewhere. Both are generous: an easy prompt is answered rightly in many words.
AT_AN_END, BETWEEN = 0.9, 0.5
#: What is more improbable than this is no chance.
_CHANCE: Final = math.log(1e-6)


def unvaried(results: Results, row: ResultRow, metric: RunMetric, column: Column, dataset: str, decoding: str) -> bool:
    """Return whether a column does not vary over the seeds of a row, and should.

    Decided prompt by prompt, because means coincide: of 40 prompts two seeds often have equally many right, and seldom
    the same ones. The seeds must agree to the bit on every prompt, and so many prompts must have been *answered
    differently* that agreeing on all of these by chance is out of the question (see :func:`chance`); a metric of the
    model itself (``needs`` names the policy) sees other weights on every prompt. So rows that learnt to give the same
    answers are no error, nor is a column in which all differing answers score the least or all the most that there is
    (0 or 100 %), nor what a few prompts show. Not judged: untrained rows, one seed, numbers for all answers at once,
    columns without a better direction (lengths, kinds of answers) and those that are said to be ``deterministic``.
    """
    data = row.cells.get((dataset, decoding))
    values = data.matrix(metric.use, column.name, results.seeds) if data is not None else None
    if values is None or data is None or not row.trained or row.alike:
        return False
    if column.deterministic or column.higher_is_better is None:
        return False
    by_seed = {seed: part for seed, part in zip(results.seeds, values, strict=True) if not np.isnan(part).all()}
    if len(by_seed) < 2 or not _same(list(by_seed.values())):
        return False
    seeds = list(by_seed)
    if "policy" in metric.needs:
        different = np.full(values.shape[1], len(seeds))
    else:
        different = _answers(results, row, dataset, decoding, seeds, data.ids)
    return chance(by_seed[seeds[0]], different, column.range) < _CHANCE


def chance(values: Array, different: Array, ends: tuple[float | None, float | None]) -> float:
    """Return the natural logarithm of a bound on the chance that all seeds agree on every prompt.

    Args:
        values: (N,) what they agree on, NaN where they have none.
        different: (N,) how many different answers the seeds gave to each prompt.
        ends: the least and the largest value that there can be, where they are known.
    """
    judged = ~np.isnan(values) & (different > 1)
    at_an_end = np.isin(values, [end for end in ends if end is not None])
    if not judged.any() or (at_an_end[judged].all() and len(set(values[judged])) == 1):
        return 0.0
    each = np.where(at_an_end, math.log(AT_AN_END), math.log(BETWEEN))
    return float((each * (different - 1))[judged].sum())


def _same(values: Sequence[Array]) -> bool:
    return all(np.array_equal(values[0], other, equal_nan=True) for other in values[1:])


def _answers(
    results: Results, row: ResultRow, dataset: str, decoding: str, seeds: Sequence[int], ids: Sequence[str]
) -> Array:
    """Return how many different answers the seeds gave to each prompt (N,), all draws together being one answer."""
    given: dict[str, set[tuple[str, ...]]] = {name: set() for name in ids}
    for seed in seeds:
        texts = texts_of(results, row, seed, dataset, decoding)
        for name in ids:
            if name in texts:
                given[name].add(texts[name])
    return np.array([len(given[name]) for name in ids], dtype=np.float64)


def texts_of(results: Results, row: ResultRow, seed: int, dataset: str, decoding: str) -> dict[str, tuple[str, ...]]:
    """Return the answers of a row with a seed, by prompt, a text a draw; none where they are not stored any more."""
    stages = row.described.seeds[seed].evaluations[dataset][decoding]
    record = results.find("generate", stages.generate)
    if record is None or not record.holds(Answer.file):
        return {}
    texts: dict[str, list[str]] = {}
    for answer in record.lines(Answer):
        texts.setdefault(answer.id, []).append(answer.text)
    return {name: tuple(listed) for name, listed in texts.items()}
