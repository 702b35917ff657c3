"""Rows of one model that are the same: methods that come to the same thing here, and checkpoints that were copied."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Final

import numpy as np

from harness.report.checks.unvaried import texts_of
from harness.report.findings import listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.report.checks.course import Course
    from harness.report.results import ResultRow, Results

#: Weights are equal within rounding where they are no further apart than this, in units of how far they moved. Well
#: below what methods differ by: ESO, whose term has a small weight, and plain SFT were 4e-2 apart after seven steps.
ROUNDING: Final = 1e-4
#: Ratios of gradient norms that differ by less, relatively, are equal within rounding.
_NORMS: Final = 1e-3
#: Fewer equal steps than this from the beginning are no sign: two methods may draw alike while they have hardly moved.
_STEPS: Final = 10
#: Rows that were trained differently may well answer a few prompts alike.
_PROMPTS: Final = 20


def same_rows(results: Results) -> list[str]:
    """Return a sentence for each group of rows that are the same, from what their stages recorded."""
    groups: dict[tuple[str, str, tuple[int, ...]], list[set[str]]] = {}
    for model in results.models:
        rows = [row for row in results.rows if row.model == model]
        for one, other in itertools.combinations(rows, 2):
            for how, seeds in _relation(results, one, other):
                _join(groups.setdefault((model, how, seeds), []), {one.label, other.label})
    order = [row.label for row in results.rows]
    several = len(results.models) > 1
    return [
        _sentence(sorted(labels, key=order.index), how, seeds, model if several else "")
        for (model, how, seeds), joined in groups.items()
        for labels in joined
    ]


def _join(groups: list[set[str]], pair: set[str]) -> None:
    """Put a pair to the groups that it has a row in common with: what is equal to the same is equal."""
    touched = [group for group in groups if group & pair]
    groups[:] = [group for group in groups if group not in touched] + [pair.union(*touched)]


def _sentence(labels: list[str], how: str, seeds: tuple[int, ...], model: str) -> str:
    which = f"seed{'s' if len(seeds) > 1 else ''} {listed(map(str, seeds))}"
    return f"{listed(labels)}{f' ({model})' if model else ''} are the same here: {how} ({which})."


def _relation(results: Results, one: ResultRow, other: ResultRow) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Give in what two rows are the same with which seeds, for each seed the strongest that holds."""
    found: dict[str, list[int]] = {}
    for seed in results.seeds:
        if how := _same(results, one, other, seed):
            found.setdefault(how, []).append(seed)
    for how, seeds in found.items():
        yield how, tuple(seeds)


def _same(results: Results, one: ResultRow, other: ResultRow, seed: int) -> str:
    weights = one.weights.get(seed), other.weights.get(seed)
    if weights[0] is not None and weights[1] is not None:
        if weights[0].sha256 == weights[1].sha256:
            return "equal weights"
        if weights[0].apart(weights[1]) < ROUNDING:
            return "weights that are equal within rounding"
    courses = one.courses.get(seed), other.courses.get(seed)
    if courses[0] is not None and courses[1] is not None and (how := _alike(courses[0], courses[1])):
        return how
    enough = 1 if "elsewhere" in {one.kind, other.kind} else _PROMPTS
    return "equal answers to every prompt" if _answered_alike(results, one, other, seed, enough) else ""


def _alike(one: Course, other: Course) -> str:
    """Say in what two trainings were the same; nothing where they were not."""
    steps = min(len(one.norms), len(other.norms))
    if len(one.norms) == len(other.norms) and steps:
        if any(one.samples) and one.samples == other.samples:
            return "equal samples at every step of training"
        told = {reward for reward in one.rewards if reward is not None}
        if len(told) > 1 and one.rewards == other.rewards:
            return "equal mean rewards at every step of training"
    begun = _leading(range(steps), lambda step: _same_step(one, other, step))
    if begun < _STEPS or not any(one.samples[:begun]):
        return ""
    return f"equal samples, and gradient norms in one proportion, in the first {begun} of {steps} steps of training"


def _leading(steps: range, holds: Callable[[int], bool]) -> int:
    return next((step for step in steps if not holds(step)), len(steps))


def _same_step(one: Course, other: Course, step: int) -> bool:
    same = (one.rows[step], one.samples[step]) == (other.rows[step], other.samples[step])
    # a factor that all gradients have in common is none for Adam
    return same and math.isclose(one.norms[step] * other.norms[0], other.norms[step] * one.norms[0], rel_tol=_NORMS)


def _answered_alike(results: Results, one: ResultRow, other: ResultRow, seed: int, enough: int) -> bool:
    """Return whether two rows gave the same answers wherever both were asked, to so many prompts at least.

    Where scores differ, they did not.
    """
    shared = [place for place in one.cells if place in other.cells]
    cells = [(one.cells[place], other.cells[place]) for place in shared]
    shared = [place for place, pair in zip(shared, cells, strict=True) if all(seed in cell.summaries for cell in pair)]
    asked = max((len(one.cells[place].ids) for place in shared), default=0)
    if asked < enough or not all(_scored_alike(one, other, seed, place) for place in shared):
        return False
    texts = [[texts_of(results, row, seed, *place) for row in (one, other)] for place in shared]
    return all(first == second and first for first, second in texts)


def _scored_alike(one: ResultRow, other: ResultRow, seed: int, place: tuple[str, str]) -> bool:
    first, second = one.cells[place], other.cells[place]
    return first.ids == second.ids and all(
        np.array_equal(scored.columns[name], second.scores[metric][seed].columns[name], equal_nan=True)
        for metric, by_seed in first.scores.items()
        for scored in [by_seed.get(seed)]
        if scored is not None and seed in second.scores.get(metric, {})
        for name in scored.columns
        if name in second.scores[metric][seed].columns
    )
