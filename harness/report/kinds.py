"""Every table that a report may have: what asks for it, when it has anything to show, and what makes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness.report.across import across_table, several_sets
from harness.report.budgets import budget_table, budgeted, stepped, steps_table
from harness.report.overoptimisation import curves_table, optimised, points_table
from harness.report.pareto import pareto_table, traded
from harness.report.published import published_table
from harness.report.rankings import ranked_apart, ranks_table
from harness.report.rewards import reward_model_table
from harness.report.scores import (
    cross_table,
    decoding_table,
    fluency_table,
    paid_table,
    ranked,
    scores_table,
    summary_table,
)
from harness.report.seeds import seeds_table
from harness.report.settings import settings_table
from harness.report.table import in_order
from harness.report.training import signal_table, timing_table
from harness.report.tuning import tuned, tuning_table
from harness.report.verdicts import claimed, claims_table
from harness.report.wins import judged, strengths_table, win_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.report.columns import ComparedColumns
    from harness.report.results import Results
    from harness.report.table import Table


@dataclass(frozen=True)
class TableKind:
    """One table."""

    asked_as: str | None
    """The name under which a benchmark file asks for it; None for one that every run has."""
    shows: Callable[[Results], bool]
    """Whether there is anything to show."""
    make: Callable[[ComparedColumns], Table | None]
    """Makes it; None where only making it could tell that there is nothing."""


def _scored(results: Results, role: str) -> bool:
    return bool(results.datasets(role)) and bool(results.metrics("score"))


def _always(_: Results) -> bool:
    return True


#: The tables in their order.
KINDS: Final = (
    TableKind(None, lambda results: results.evaluated, summary_table),
    TableKind("scores", lambda results: _scored(results, "in-data"), scores_table),
    TableKind("cross-dataset", lambda results: _scored(results, "cross"), cross_table),
    TableKind(None, several_sets, across_table),
    TableKind(None, ranked_apart, ranks_table),
    TableKind("fluency", lambda results: bool(results.metrics("fluency")), fluency_table),
    TableKind("paid", lambda results: bool(results.metrics("paid")), paid_table),
    TableKind("overoptimisation", optimised, points_table),
    TableKind("overoptimisation", optimised, curves_table),
    TableKind("decoding", lambda results: results.evaluated, decoding_table),
    TableKind("seeds", lambda results: len(results.seeds) > 1 and bool(results.metrics("score")), seeds_table),
    TableKind("win-rates", judged, win_table),
    TableKind("win-rates", judged, strengths_table),
    TableKind(
        "reward-model",
        lambda results: bool(results.manifest.reward_models),
        lambda columns: reward_model_table(columns.results),
    ),
    TableKind("pareto", traded, pareto_table),
    TableKind("budget", budgeted, budget_table),
    TableKind("budget", stepped, steps_table),
    TableKind("timing", _always, lambda columns: timing_table(columns.results)),
    TableKind(None, _always, lambda columns: signal_table(columns.results)),
    TableKind(None, tuned, lambda columns: tuning_table(columns.results)),
    TableKind("claims", claimed, lambda columns: claims_table(columns.results)),
    TableKind(None, _always, lambda columns: settings_table(columns.results)),
    TableKind(None, lambda results: bool(results.manifest.published), published_table),
)


def tables_of(columns: ComparedColumns) -> list[Table]:
    """Return the tables that a run asks for and those that every run has, as far as there is anything to show.

    All have the rows in one order.
    """
    results = columns.results
    asked = {None, *results.manifest.tables}
    made = (kind.make(columns) for kind in KINDS if kind.asked_as in asked and kind.shows(results))
    rows = ranked(columns) if results.evaluated else results.rows
    places = {(row.model, row.label): place for place, row in enumerate(rows)}
    return [in_order(table, places) for table in made if table is not None]
