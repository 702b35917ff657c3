"""Whether the rows of a run were compared on equal terms: numbers of trials, prompts, and sampled tokens."""

from __future__ import annotations

import statistics as stats
from typing import TYPE_CHECKING, Final, NamedTuple

from harness.report.budgets import budgeted
from harness.spec.results.train import TrainSummary
from harness.spec.stages.train import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.report.results import ResultRow, Results

#: How far sampled tokens may be apart and count as equal: a budget ends with the step that comes nearest to it.
CLOSE: Final = 0.02


class Terms(NamedTuple):
    """What one row was given, as a mean over its seeds; of its own training, without the shared start."""

    label: str
    trials: int
    prompts: float
    sampled: float
    """Tokens; 0 for a method that samples none."""
    trained: bool
    """Whether there is anything to count."""
    start: bool
    """Whether it is the supervised start, which is not tuned."""


def terms_of(row: ResultRow) -> Terms:
    """Return what a row was given."""
    read = [(record.read(TrainSummary), record.read(TrainConfig)) for record in row.training.values()]
    prompts = [float(summary.steps * config.recipe.batch_size) for summary, config in read]
    sampled = [float(summary.tokens_generated) for summary, _ in read]
    counted = (stats.fmean(prompts), stats.fmean(sampled)) if read else (0.0, 0.0)
    return Terms(row.label, int(row.described.trials), *counted, bool(read), row.kind == "start")


def term_lines(results: Results) -> list[str]:
    """Say of a file that tunes or has a budget whether all its rows had the same, and name those that had not."""
    if results.manifest.config.tune is None and not budgeted(results):
        return []
    lines = []
    for model in results.models:
        rows = [terms_of(row) for row in results.rows if row.model == model and row.trained and row.method]
        who = f" ({model})" if len(results.models) > 1 else ""
        if len(rows) > 1:
            lines.append(f"Terms{who}: {'; '.join([*_trials(rows), *_prompts(rows), *_sampled(rows)])}.")
    return lines


def unequal(rows: Iterable[Terms]) -> list[str]:
    """Return what keeps rows from being on equal terms; nothing where they are.

    One budget is as many prompts, or, of those that sample, as many tokens: methods that sample unequally long or
    unequally often cannot have both.
    """
    counted = [row for row in rows if row.trained]
    lines = []
    tried = [row for row in counted if not row.start]
    if len({row.trials for row in tried}) > 1:
        lines.append(f"trials differ: {_each(tried, 'trials')}")
    if len({row.prompts for row in counted}) > 1 and not _close([row.sampled for row in counted]):
        lines.append(
            f"budgets differ in prompts ({_each(counted, 'prompts')}) and in sampled tokens "
            f"({_each(counted, 'sampled')})"
        )
    return lines


def _trials(rows: Sequence[Terms]) -> list[str]:
    tuned = [row for row in rows if row.trials > 1]
    if not tuned:
        return ["nothing was tuned"]
    if len({row.trials for row in tuned}) > 1:
        return [f"numbers of trials are NOT equal: {_each(tuned, 'trials')}"]
    alone = ", ".join(row.label for row in rows if row.trials == 1 and not row.start)
    return [f"{tuned[0].trials} trials of each tuned row" + (f" (one configuration: {alone})" if alone else "")]


def _prompts(rows: Sequence[Terms]) -> list[str]:
    counted = [row for row in rows if row.trained]
    if not counted:
        return []
    usual = stats.mode(round(row.prompts) for row in counted)
    others = [row for row in counted if round(row.prompts) != usual]
    if others:
        return [f"prompts are NOT equal: {usual:,} for most, {_each(others, 'prompts')}"]
    return [f"{usual:,} prompts for each row"]


def _sampled(rows: Sequence[Terms]) -> list[str]:
    counted = [row for row in rows if row.sampled]
    if len(counted) < 2:
        return []
    amounts = [row.sampled for row in counted]
    if _close(amounts):
        return [f"{min(amounts):,.0f} to {max(amounts):,.0f} sampled tokens for each that samples, equal within 2 %"]
    middle = stats.median(amounts)
    far = [row for row in counted if abs(row.sampled - middle) > CLOSE * middle] or counted
    return [f"sampled tokens are NOT equal within 2 %: {middle:,.0f} in the middle, {_each(far, 'sampled')}"]


def _close(amounts: Sequence[float]) -> bool:
    """Return whether the largest is at most 2 % above the smallest."""
    return max(amounts) <= (1 + CLOSE) * min(amounts) and min(amounts) > 0


def _each(rows: Iterable[Terms], what: str) -> str:
    return ", ".join(f"{row.label} {getattr(row, what):,.0f}" for row in rows)
