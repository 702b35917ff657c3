"""The table across data sets: one number a row for all of them, and how often a row is above the baseline."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from harness.report import captions
from harness.report.columns import bounds, marks
from harness.report.differences import cut
from harness.report.proportions import wilson
from harness.report.resampling import Sampled, ends, improvement, interquartile, sampled
from harness.report.scores import summary_columns
from harness.report.statistics import SEEDS_FOR_CLAIMS, Interval
from harness.report.table import Heading, Table, TableCell, TableRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.report.columns import ComparedColumn, ComparedColumns
    from harness.report.results import ResultRow, Results
    from harness.report.statistics import Array

IQM, ABOVE = "interquartile-mean", "probability-of-improvement"


def several_sets(results: Results) -> bool:
    """Return whether there is more than one data set to be summed up."""
    return results.evaluated and len(_places(results)) > 1


def _places(results: Results) -> list[str]:
    return [*results.datasets("in-data"), *results.datasets("cross")]


def across_table(columns: ComparedColumns) -> Table:
    """Return the interquartile mean of the headline score over seeds and data sets, and the chance to be above."""
    results = columns.results
    shown = [column for column in summary_columns(columns) if column.place.decoding == results.decodings[0]]
    first = shown[0]
    decoding, metric, heading = first.place.decoding, first.heading.metric, first.heading
    better = heading.higher_is_better
    label = f"{first.described.label}{f' ({first.described.unit})' if first.described.unit else ''}, interquartile mean"
    middle = Heading(IQM, label, "", heading.digits, heading.scale, better, ends=True)
    headings = [middle.about(decoding=decoding, metric=metric, statistic="interquartile mean")]
    if results.baseline:
        chance = Heading(ABOVE, f"P(above {results.baseline}) %", "", 0, 100.0, True, ends=True)
        said = "probability of improvement"
        headings.append(chance.about(decoding=decoding, metric=metric, statistic=said, baseline=results.baseline))
    rows = []
    for row in results.rows:
        ours = sampled_row(columns, row, shown)
        start = next((r for r in results.rows if r.label == results.baseline and r.model == row.model), None)
        theirs = sampled_row(columns, start, shown) if start is not None and start is not row else None
        cells = {IQM: _middle(ours, first) if ours else TableCell(status="no value")}
        if row is start:
            cells[ABOVE] = TableCell(status="baseline")
        elif ours and theirs and row.trained:
            cells[ABOVE] = _above(ours, theirs, lower=better is False)
        rows.append(TableRow(row.label, row.model, cells, marks(row)))
    names = ", ".join(column.place.dataset for column in shown)
    caption = [
        (
            f"Interquartile mean: of one mean a seed and data set ({names}), the middle half (Agarwal et al. 2021). "
            "A score on one data set is worth as much as on another."
        ),
        *_chance(results),
        *_how(results),
        *captions.decoding_lines(results, [first.place.decoding]),
        *captions.data_lines(results, [column.place.dataset for column in shown]),
        *captions.scale_lines(results),
    ]
    title = f"Across data sets, {columns.group('', first.place.decoding).removeprefix(', ')}"
    return Table("across", title, tuple(headings), tuple(rows), tuple(caption))


def _chance(results: Results) -> list[str]:
    if not results.baseline:
        return []
    return [
        (
            f"P(above {results.baseline}): how often a seed of the row scores better than a seed of "
            f"{results.baseline} on the same data set, a tie as half; 50 % is no difference. It says how sure, and not "
            "how much. Its interval is never shorter than Wilson's for as many trials as seeds."
        )
    ]


def _how(results: Results) -> list[str]:
    if len(results.seeds) < SEEDS_FOR_CLAIMS:
        return [f"With fewer than {SEEDS_FOR_CLAIMS} seeds there are no intervals."]
    return [
        (
            "In brackets a 95 % bootstrap interval for new seeds and new prompts of these data sets, not for other "
            "data sets, and adjusted for no other row: nothing is claimed from this table."
        )
    ]


def sampled_row(columns: ComparedColumns, row: ResultRow, shown: Sequence[ComparedColumn]) -> Sampled | None:
    """Return a row's scores on the data sets of columns; None where one has none, or its seeds are no repetitions."""
    values: list[Array] = []
    groups: list[list[str] | None] = []
    for column in shown:
        place = column.place
        data = row.cells.get((place.dataset, place.decoding))
        matrix = data.matrix(place.metric, place.column, columns.results.seeds) if data else None
        if data is None or matrix is None or np.isnan(matrix).all() or columns.faulty(row, place):
            return None
        values.append(matrix)
        groups.append(columns.groups(place.dataset, data.ids))
    present = np.all([~np.isnan(matrix).all(1) for matrix in values], axis=0)
    whole = bool(present.all())
    found = sampled([matrix[present] for matrix in values], groups) if present.any() else None
    return found if found is None or whole else Sampled(found.means, None, found.wider)


def _middle(ours: Sampled, column: ComparedColumn) -> TableCell:
    centre = float(interquartile(ours.means))
    interval = None
    if ours.draws is not None:
        low, high = ends(interquartile(ours.moved(ours.wider)))
        possible = bounds(column.described) or (-math.inf, math.inf)
        interval = Interval(centre, *cut(centre, min(low, centre), max(high, centre), possible))
    return TableCell(centre, interval, seeds=len(ours.means))


def _above(ours: Sampled, theirs: Sampled, *, lower: bool) -> TableCell:
    sign = -1.0 if lower else 1.0
    centre = float(improvement(sign * ours.means, sign * theirs.means))
    seeds = min(len(ours.means), len(theirs.means))
    interval = None
    if ours.draws is not None and theirs.draws is not None:
        wider = np.maximum(ours.wider, theirs.wider)  # the same for both: what they share must cancel
        low, high = ends(improvement(sign * ours.moved(wider), sign * theirs.moved(wider)))
        least, most = wilson(centre, seeds)
        interval = Interval(centre, min(low, least), max(high, most))
    return TableCell(centre, interval, seeds=seeds)
