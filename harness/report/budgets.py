"""The tables of rows whose methods have a budget: after equal shares of it, and after equally many steps."""

from __future__ import annotations

import statistics as stats
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from harness.report import captions
from harness.report.columns import ComparedColumns, marks
from harness.report.table import Heading, Table, TableCell, TableRow
from harness.report.training import no_training_at_all
from harness.spec.budget import BudgetPoint
from harness.spec.results.train import BudgetSpent, TrainSummary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.report.results import ResultRow, Results
    from harness.spec.budget import Budget
    from harness.spec.results.run import RunMetric

#: What the tables call the end of a budget.
END = BudgetPoint(share=1.0)

#: What a row had spent, whichever unit its budget is in.
_COSTS = (
    Heading("share", "spent %", "", 1, 100.0),
    Heading("steps", "steps", "", 0),
    Heading("sampled", "tokens sampled", "", 0),
    Heading("trained", "tokens trained on", "", 0),
    Heading("seconds", "seconds", "", 1),
)


class Place(NamedTuple):
    """One place within the budgets of some rows."""

    budget: Budget
    point: BudgetPoint


def budget_of(row: ResultRow, results: Results) -> Budget | None:
    """Return the budget of a row; None where epochs say how long it trains."""
    if not any(record.read(TrainSummary).budget for record in row.training.values()):
        return None
    entries = {entry.label: entry for entry in results.manifest.config.methods}
    entry = entries.get(row.label)
    return entry.recipe.budget if entry is not None else results.manifest.config.recipe.budget


def budgeted(results: Results) -> bool:
    """Return whether any row has a budget."""
    return any(budget_of(row, results) is not None for row in results.rows)


def stepped(results: Results) -> bool:
    """Return whether any row is evaluated after so many steps of its own."""
    return results.evaluated and any(budget.steps for row in results.rows if (budget := budget_of(row, results)))


def budget_table(columns: ComparedColumns) -> Table:
    """Rows that share a budget, after equal shares of it and at its end."""
    results = columns.results
    places = shares(results)
    units = list(dict.fromkeys(f"{place.budget.amount:,.12g} {_words(place.budget)}" for place in places))
    caption = [
        (
            f"The methods' part of training ends when {' or '.join(units)} are spent, at the step that comes nearest; "
            "spent: the share of it that a row came to. Learning rates fall with that share. Means over seeds."
        )
    ]
    if any(place.budget.unit == "seconds" for place in places):
        caption.append("A budget in seconds ends at another step in every run: it cannot be repeated to the bit.")
    return _table(columns, "budget", "At equal budgets", places, caption)


def steps_table(columns: ComparedColumns) -> Table:
    """The same rows after equally many steps, whatever these cost."""
    places = [place for place in _places(columns.results) if place.point.step is not None]
    caption = ["The same training runs after equally many steps of their own, whatever a step costs."]
    return _table(columns, "equal-steps", "At equal steps", places, caption)


def _table(columns: ComparedColumns, name: str, title: str, places: Sequence[Place], caption: Sequence[str]) -> Table:
    results = columns.results
    headings: dict[str, Heading] = {}
    rows: list[TableRow] = []
    several = len({place.budget for place in places}) > 1
    for place in places:
        view = replace(results, rows=list(rows_at(results, place)), points=[])
        there = columns.seen_through(view)
        shown = []
        if view.evaluated:
            dataset = [*results.datasets("in-data"), *results.datasets("cross")][0]
            shown = [
                there.headline(metric, dataset, decoding, label=_label(metric), group=there.group(dataset, decoding))
                for metric in results.metrics("score")
                for decoding in [results.decoding_of(metric)]
            ]
        headings |= {heading.name: heading for heading in there.headings(shown)}
        for row in view.rows:
            spent = [_spent(record.read(TrainSummary), place.point) for record in row.training.values()]
            told = [one for one in spent if one is not None]
            cells = there.cells(row, shown) | _costs(told, place.budget, row, results)
            label = f"{row.label} at {place.point.name}"
            label += f" of {place.budget.amount:,.12g} {_words(place.budget)}" if several else ""
            first = () if all(one.reached for one in told) else ("its budget was spent before that",)
            rows.append(TableRow(label, row.model, cells, (*marks(row), *first)))
    lines = [*caption, *captions.interval_lines(results)] if results.evaluated else list(caption)
    return Table(name, title, (*headings.values(), *_COSTS), tuple(rows), tuple(lines))


def shares(results: Results) -> list[Place]:
    """Return every share of every budget at which rows are evaluated, the whole behind the others."""
    return [place for place in _places(results) if place.point.share is not None]


def _places(results: Results) -> Iterator[Place]:
    """Yield every place of every budget, shares first, the whole behind the other shares."""
    budgets = dict.fromkeys(budget for row in results.rows if (budget := budget_of(row, results)) is not None)
    for budget in budgets:
        points = list(budget.points)
        yield from (Place(budget, point) for point in points if point.share is not None)
        yield Place(budget, END)
        yield from (Place(budget, point) for point in points if point.step is not None)


def rows_at(results: Results, place: Place) -> Iterator[ResultRow]:
    """Yield the rows with a budget as they are at one place of it, each under its own label."""
    there = {(row.model, row.described.of, row.described.at): row for row in results.points}
    for row in results.rows:
        if budget_of(row, results) != place.budget:
            continue
        if place.point == END:
            yield row
        elif point := there.get((row.model, row.label, place.point.name)):
            yield replace(row, cells=point.cells)


def _spent(summary: TrainSummary, point: BudgetPoint) -> BudgetSpent | None:
    return next((one for one in summary.budget or () if one.name == point.name), None)


def _costs(spent: Sequence[BudgetSpent], budget: Budget, row: ResultRow, results: Results) -> dict[str, TableCell]:
    if not spent:
        return {heading.name: TableCell(status=no_training_at_all(row, results)) for heading in _COSTS}
    return {
        "share": TableCell(stats.fmean(one.spent for one in spent) / budget.amount),
        "steps": TableCell(stats.fmean(one.steps for one in spent)),
        "sampled": TableCell(stats.fmean(one.sampled for one in spent)),
        "trained": TableCell(stats.fmean(one.trained for one in spent)),
        "seconds": TableCell(stats.fmean(one.seconds for one in spent)),
    }


def _label(metric: RunMetric) -> str:
    return next(column.label for column in metric.columns if column.name == metric.headline)


def _words(budget: Budget) -> str:
    return budget.unit.replace("_", " ")
