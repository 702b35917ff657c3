"""The table of ranks: each row's place among the others, model by model and share by share of a budget."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from harness.report import captions
from harness.report.across import sampled_row
from harness.report.budgets import budgeted, rows_at, shares
from harness.report.resampling import ends, ranks
from harness.report.run_setup import parameters
from harness.report.scores import summary_columns
from harness.report.statistics import SEEDS_FOR_CLAIMS, Interval
from harness.report.table import Heading, Table, TableCell, TableRow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.report.columns import ComparedColumn, ComparedColumns
    from harness.report.results import Results


class _Stand(NamedTuple):
    """The rows of one model at one place of a budget."""

    heading: Heading
    columns: ComparedColumns
    model: str


def ranked_apart(results: Results) -> bool:
    """Return whether rows are ranked more than once: with several models, or at several shares of a budget."""
    return results.evaluated and (len(results.models) > 1 or (budgeted(results) and bool(results.points)))


def ranks_table(columns: ComparedColumns) -> Table | None:
    """Return the rank of each trained row by the headline score; None where there is nothing to rank."""
    results = columns.results
    first = summary_columns(columns)[0]
    stands = list(_stands(columns, first))
    labels = list(dict.fromkeys(row.label for row in results.rows if row.trained))
    cells: dict[str, dict[str, TableCell]] = {label: {} for label in labels}
    for stand in stands:
        for label, cell in _ranks(stand, first).items():
            cells[label][stand.heading.name] = cell
    if not any(cells.values()):
        return None
    rows = tuple(TableRow(label, "", cells[label]) for label in labels)
    where = columns.group(first.place.dataset, first.place.decoding)
    caption = [
        (
            f"By the mean of {first.described.label}, 1 is the best; rows with equal means share a rank. Untrained "
            "rows and those from elsewhere have none."
        ),
        (
            "In brackets a 95 % bootstrap interval of the rank for new seeds and new prompts, by itself: ranks whose "
            "intervals do not overlap are no claim."
            if len(results.seeds) >= SEEDS_FOR_CLAIMS
            else f"With fewer than {SEEDS_FOR_CLAIMS} seeds a rank has no interval."
        ),
        *(["Models from the smallest to the largest."] if len(results.models) > 1 else []),
        *captions.decoding_lines(results, [first.place.decoding]),
        *captions.data_lines(results, [first.place.dataset]),
    ]
    return Table("ranks", f"Ranks, on {where}", tuple(s.heading for s in stands), rows, tuple(caption), divided=True)


def _stands(columns: ComparedColumns, first: ComparedColumn) -> Iterator[_Stand]:
    """Yield every model from the smallest, and of each every share of a budget that its rows have."""
    results = columns.results
    sizes = {model: parameters(results, model) for model in results.models}
    places, several = shares(results), len(results.models) > 1

    def heading(name: str, label: str, group: str = "") -> Heading:
        return Heading(name, label, group, 0, ends=True).about(
            dataset=first.place.dataset,
            decoding=first.place.decoding,
            metric=first.heading.metric,
            statistic="rank",
        )

    for model in sorted(results.models, key=lambda name: sizes[name]):
        said = f"{model} ({sizes[model] / 1e6:.1f}M)" if sizes[model] else model
        for place in places:
            view = replace(results, rows=list(rows_at(results, place)), points=[])
            budget = f"{place.budget.amount:,.12g} {place.budget.unit.replace('_', ' ')}"
            name = f"{model}/{budget}/{place.point.name}"
            label = f"{place.point.name} of {budget}"
            yield _Stand(heading(name, label, said if several else ""), columns.seen_through(view), model)
        if not places:
            yield _Stand(heading(model, said), columns, model)


def _ranks(stand: _Stand, first: ComparedColumn) -> dict[str, TableCell]:
    """Return the rank of each row that has a number there; with an interval where every one of them has replicates."""
    rows = [row for row in stand.columns.results.rows if row.model == stand.model and row.trained]
    found = {row.label: one for row in rows if (one := sampled_row(stand.columns, row, [first]))}
    if not found:
        return {}
    sign = -1.0 if first.heading.higher_is_better is False else 1.0
    places = ranks(sign * np.array([one.means.mean() for one in found.values()]))
    intervals: list[Interval | None] = [None] * len(found)
    if all(one.draws is not None for one in found.values()):
        wider = np.max([one.wider for one in found.values()], axis=0)  # the same for all: what they share must cancel
        replicates = ranks(sign * np.stack([one.moved(wider).mean((1, 2)) for one in found.values()], axis=1))
        for index, place in enumerate(places):
            low, high = ends(replicates[:, index])
            intervals[index] = Interval(place, min(math.floor(low), place), max(math.ceil(high), place))
    return {
        label: TableCell(float(place), interval, seeds=len(found[label].means))
        for label, place, interval in zip(found, places, intervals, strict=True)
    }
