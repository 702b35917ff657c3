"""What the schedules of a benchmark cannot do with the steps that they have, known before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.plan.segments import method_segments
from harness.training.schedule import LearningRate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.spec.benchmark import Benchmark


#: More steps than any epoch has.
_NO_BOUND = 2**53


def schedule_remarks(benchmark: Benchmark, rows: int | None = None, pairs: int | None = None) -> list[str]:
    """Return one sentence for each schedule that cannot do what it is asked for, with the rows that have it.

    Args:
        benchmark: with a profile and all overrides applied.
        rows: how many rows are trained on; where that is not known yet, the most that the file allows.
        pairs: the same of the reward model.
    """
    said: dict[str, list[str]] = {}
    for label, text in [*_rows(benchmark, rows), *_reward_model(benchmark, pairs)]:
        said.setdefault(text, []).append(label)
    return [f"{', '.join(dict.fromkeys(labels))}: {text}" for text, labels in said.items()]


def _rows(benchmark: Benchmark, rows: int | None) -> Iterator[tuple[str, str]]:
    count = benchmark.train.limit if rows is None else rows
    for entry in benchmark.methods:
        recipe = entry.recipe
        each = _NO_BOUND if count is None else count // recipe.batch_size
        for segment in method_segments(entry, benchmark.recipe):
            yield from ((entry.label, text) for text in LearningRate.of(segment.curve, each).shortfalls())
        if recipe.method_warmup_steps and entry.start == "branch" and recipe.method_schedule == "continue":
            yield (
                entry.label,
                (
                    f"method_warmup_steps {recipe.method_warmup_steps} means nothing under method_schedule: continue, "
                    "whose one warm-up is warmup_steps"
                ),
            )


def _reward_model(benchmark: Benchmark, pairs: int | None) -> Iterator[tuple[str, str]]:
    section = benchmark.reward_model
    if section is None or section.use is None:
        return
    recipe, use = section.recipe, section.train or benchmark.train
    count = use.limit if pairs is None else pairs
    each = _NO_BOUND if count is None else count // recipe.batch_size
    last = each * recipe.epochs
    curve = LearningRate(recipe.schedule, recipe.learning_rate, recipe.min_learning_rate, recipe.warmup_steps, 0, last)
    yield from (("reward model", text) for text in curve.shortfalls())
