"""Columns of numbers with their intervals and comparisons: what the tables about answers are made of."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from harness.report.checks.unvaried import unvaried
from harness.report.decodings import decoding_name
from harness.report.differences import cut
from harness.report.groups import groups_of, read_groups
from harness.report.proportions import TOO_FEW
from harness.report.results import NOT_EVALUATED, NOT_RUN, NOT_SCORED
from harness.report.statistics import mean
from harness.report.table import Heading, TableCell
from harness.report.training import inactive_mark

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.api.registration import Column
    from harness.report.calculated import Calculated
    from harness.report.differences import Compared
    from harness.report.results import CellData, ResultRow, Results
    from harness.report.statistics import Array, Interval
    from harness.spec.results.run import RunMetric


#: What a number is marked with that does not vary over the seeds, and should.
UNVARIED: Final = "error: the seeds do not vary"


class ColumnKey(NamedTuple):
    """Where a number is found."""

    dataset: str
    decoding: str
    metric: str
    column: str
    corpus: bool = False
    """Whether it is one number for all answers of a seed, and no mean over them."""


class ComparedColumn(NamedTuple):
    """One column of a table, with the comparison of its rows, by model."""

    place: ColumnKey
    described: Column
    heading: Heading
    comparisons: Mapping[str, Compared]
    label: str
    """What a sentence calls the column."""
    beside: Heading | None = None
    """The heading of the differences from the baseline, where there are any."""


class ComparedColumns:
    """The columns of one run; each is computed once, however many tables show it."""

    def __init__(self, results: Results, calculated: Calculated) -> None:
        """Compute nothing yet."""
        self.results = results
        self._calculated = calculated
        self._cells: dict[tuple[str, str, ColumnKey], TableCell] = {}
        self._comparisons: dict[tuple[ColumnKey, str | None], Mapping[str, Compared]] = {}
        self._groups: dict[str, Mapping[str, str] | None] = {}
        self._unvaried: dict[tuple[str, str, ColumnKey], bool] = {}

    def seen_through(self, results: Results) -> ComparedColumns:
        """Return the columns of the same run with other rows in it."""
        return ComparedColumns(results, self._calculated)

    def of_metric(self, metric: RunMetric, dataset: str, decoding: str) -> list[ComparedColumn]:
        """Return every column of a metric on one data set, corpus numbers last."""
        listed = [(column, False) for column in metric.columns] + [(column, True) for column in metric.corpus]
        columns = []
        for described, corpus in listed:
            place = ColumnKey(dataset, decoding, metric.use, described.name, corpus)
            name = f"{dataset}/{'corpus ' if corpus else ''}{place.metric}.{place.column}"
            heading = self._heading(described, name, described.label, self.group(dataset, decoding), place)
            columns.append(self._column(place, described, heading))
        return columns

    def headline(
        self, metric: RunMetric, dataset: str, decoding: str, *, label: str, group: str = ""
    ) -> ComparedColumn:
        """Return the headline column of a metric, for where there is room for one, under a label of its own."""
        described = next(column for column in metric.columns if column.name == metric.headline)
        place = ColumnKey(dataset, decoding, metric.use, described.name)
        name = f"{dataset}/{decoding}/{place.metric}.{place.column}"
        heading = self._heading(replace(described, shown=True), name, label, group, place)
        return self._column(place, described, heading)

    def _column(self, place: ColumnKey, described: Column, heading: Heading) -> ComparedColumn:
        """Add the comparison of the rows, unless it is a corpus number."""
        said = f"{place.dataset} {described.label}"
        if place.decoding != self.results.decodings[0]:
            said += f" {place.decoding}"
        if place.corpus:
            return ComparedColumn(place, described, heading, {}, said)
        baseline = self.results.baseline
        comparisons = self._compared(place, described, None if self.results.every_pair else baseline)
        if not any(baseline in pair for comparison in comparisons.values() for pair in comparison.pairs):
            return ComparedColumn(place, described, heading, comparisons, said)
        label = f"Δ {baseline}" if heading.group else f"{heading.label} Δ {baseline}"
        beside = replace(
            heading,
            name=f"{heading.name} Δ",
            label=label,
            higher_is_better=None,
            statistic="difference",
            baseline=baseline,
        )
        return ComparedColumn(place, described, replace(heading, bare=True), comparisons, said, beside)

    def _heading(self, described: Column, name: str, label: str, group: str, place: ColumnKey) -> Heading:
        unit = f" ({described.unit})" if described.unit else ""
        return Heading(
            name,
            label + unit,
            group,
            described.digits,
            described.scale,
            described.higher_is_better,
            described.shown,
            dataset=place.dataset,
            decoding=place.decoding,
            metric=f"{'corpus ' if place.corpus else ''}{place.metric}.{place.column}",
            statistic="mean",
        )

    def group(self, dataset: str, decoding: str) -> str:
        """Return what stands over the columns of a data set: its name, and how the answers were decoded."""
        return f"{dataset}, {decoding_name(self.results.manifest.decodings, decoding)}"

    def beside_headings(self, dataset: str, decoding: str, *, rates: bool) -> list[Heading]:
        """Return the columns beside every score."""
        group = self.group(dataset, decoding)
        listed = [
            Heading(f"{dataset}/n", "prompts", group, 0, foldable=True),
            Heading(f"{dataset}/length", "tokens", group, 1),
            Heading(f"{dataset}/truncated", "cut %", group, 1, 100.0, shown=rates, foldable=True),
            Heading(f"{dataset}/empty", "empty %", group, 1, 100.0, shown=rates, foldable=True),
        ]
        return [replace(h, dataset=dataset, decoding=decoding, metric=h.name.rpartition("/")[2]) for h in listed]

    def every_pair(self, column: ComparedColumn) -> Mapping[str, Compared]:
        """Return the comparison of all pairs of rows, by model: what letters and the Pareto front are made of."""
        return self._compared(column.place, column.described, None)

    def headings(self, shown: Sequence[ComparedColumn]) -> list[Heading]:
        """Return the heading of each column, followed by that of its differences from the baseline."""
        return [heading for column in shown for heading in (column.heading, column.beside) if heading]

    def cells(self, row: ResultRow, shown: Sequence[ComparedColumn]) -> dict[str, TableCell]:
        """Return what a row has under these headings."""
        cells = {}
        for column in shown:
            cells[column.heading.name] = self.cell(row, column)
            if column.beside:
                cells[column.beside.name] = self.beside(row, column)
        return cells

    def beside(self, row: ResultRow, column: ComparedColumn) -> TableCell:
        """Return the difference of a row from the baseline; an untrained row has none."""
        if row.label == self.results.baseline:
            return TableCell(status="baseline")
        comparison = column.comparisons.get(row.model)
        difference = comparison.of(row.label, self.results.baseline) if comparison else None
        if difference is None or math.isnan(difference.estimate):
            return TableCell()
        of = len(self.results.seeds)
        return TableCell(difference.estimate, difference.interval, seeds=difference.seeds, of=of, difference=difference)

    def cell(self, row: ResultRow, column: ComparedColumn) -> TableCell:
        """Return what a row has in a column."""
        key = (row.model, row.label, column.place)
        if key not in self._cells:
            self._cells[key] = self._cell(row, column)
        return self._cells[key]

    def _cell(self, row: ResultRow, column: ComparedColumn) -> TableCell:
        place = column.place
        data = row.cells.get((place.dataset, place.decoding))
        if data is None or not data.scores.get(place.metric):
            return TableCell(status=_why(row, data, place.metric))
        seeds, of = len(data.scores[place.metric]), len(self.results.seeds)
        missing = 0 if place.corpus else data.missing(place.metric, place.column)
        if place.corpus:
            interval = self._calculated.seeds_interval(data.corpus(place.metric, place.column))
            interval = within(interval, bounds(column.described)) if interval else None
        else:
            interval = self.own(data, place, column.described)
        if interval is None:
            return TableCell(status="no value", missing=missing)
        if self.faulty(row, place):
            return TableCell(interval.mean, missing=missing, seeds=seeds, of=of, fault=UNVARIED * (not row.alike))
        comparison = column.comparisons.get(row.model)
        letters = comparison.letters.get(row.label, "") if comparison else ""
        by_seed = self._by_seed(data, place) if seeds == TOO_FEW else ()
        return TableCell(interval.mean, interval, letters, missing, seeds=seeds, of=of, by_seed=by_seed)

    def _by_seed(self, data: CellData, place: ColumnKey) -> tuple[float, ...]:
        """Return the mean of each seed that has one."""
        if place.corpus:
            return tuple(data.corpus(place.metric, place.column).tolist())
        values = data.matrix(place.metric, place.column, self.results.seeds)
        means = [mean(of_seed) for of_seed in values] if values is not None else []
        return tuple(value for value in means if value is not None)

    def own(self, data: CellData, place: ColumnKey, described: Column) -> Interval | None:
        """Return a row's mean in a column with its own interval, within the column's range."""
        values = data.matrix(place.metric, place.column, self.results.seeds)
        if values is None:
            return None
        return self._calculated.own(values, groups=self.groups(place.dataset, data.ids), bounds=bounds(described))

    def gained(self, values: Array, dataset: str, row: ResultRow) -> Interval | None:
        """Return the mean, with its interval, of values (S, N) that were made of a row's, such as differences."""
        data = row.cells[dataset, self.results.decodings[0]]
        return self._calculated.own(values, groups=self.groups(dataset, data.ids))

    def groups(self, dataset: str, ids: Sequence[str]) -> list[str] | None:
        """Return the group of each prompt; None where prompts are not grouped."""
        if dataset not in self._groups:
            self._groups[dataset] = read_groups(self.results, dataset)
        return groups_of(self.results, dataset, ids, self._groups[dataset])

    def _compared(self, place: ColumnKey, described: Column, baseline: str | None) -> Mapping[str, Compared]:
        """Compare the rows of each model that were trained here among themselves.

        An untrained one would only make all else vague, and what one from elsewhere was given is not known.
        """
        if (place, baseline) not in self._comparisons:
            better = -1 if described.higher_is_better is False else 1
            comparisons = {}
            for model in self.results.models:
                ids: list[str] = []
                matrices = {}
                for row in self.results.rows:
                    data = row.cells.get((place.dataset, place.decoding))
                    if row.model == model and row.trained and data is not None and not self.faulty(row, place):
                        matrices[row.label] = data.matrix(place.metric, place.column, self.results.seeds)
                        ids = ids or data.ids
                present = {label: values for label, values in matrices.items() if values is not None}
                comparisons[model] = self._calculated.compare(
                    present,
                    baseline=baseline,
                    better=better,
                    groups=self.groups(place.dataset, ids),
                    bounds=bounds(described),
                )
            self._comparisons[place, baseline] = comparisons
        return self._comparisons[place, baseline]

    def unvaried(self, row: ResultRow, metric: RunMetric, column: Column, dataset: str, decoding: str) -> bool:
        """Return :func:`harness.report.checks.unvaried.unvaried`."""
        key = (row.model, row.label, ColumnKey(dataset, decoding, metric.use, column.name))
        if key not in self._unvaried:
            self._unvaried[key] = unvaried(self.results, row, metric, column, dataset, decoding)
        return self._unvaried[key]

    def difference(self, values: Array, dataset: str, ids: Sequence[str]) -> Interval | None:
        """Return the mean of a difference (S, N) on a data set with its interval, adjusted for no other."""
        return self._calculated.own(values, groups=self.groups(dataset, ids))

    def faulty(self, row: ResultRow, place: ColumnKey) -> bool:
        """Return whether a row's numbers in a column are no repetitions: nothing can be claimed of them."""
        return bool(row.alike) or self._still(row, place)

    def _still(self, row: ResultRow, place: ColumnKey) -> bool:
        if place.corpus:
            return False
        metric = next(metric for metric in self.results.manifest.metrics if metric.use == place.metric)
        column = next(column for column in metric.columns if column.name == place.column)
        return self.unvaried(row, metric, column, place.dataset, place.decoding)

    def mean(self, row: ResultRow, place: ColumnKey) -> float | None:
        """Return a row's mean in a column."""
        data = row.cells.get((place.dataset, place.decoding))
        values = data.matrix(place.metric, place.column, self.results.seeds) if data else None
        return None if values is None else mean(values)


def bounds(described: Column) -> tuple[float, float] | None:
    """Return the least and the largest value that a column can have; None where neither is known."""
    low, high = described.range
    if low is None and high is None:
        return None
    return -math.inf if low is None else low, math.inf if high is None else high


def within(interval: Interval, ends: tuple[float, float] | None) -> Interval:
    """Return an interval without what is not possible."""
    if ends is None or not interval.known:
        return interval
    low, high = cut(interval.mean, interval.low, interval.high, ends)
    return replace(interval, low=low, high=high)


def marks(row: ResultRow) -> tuple[str, ...]:
    """Return what follows a row's name in every table."""
    listed = inactive_mark(row) if row.kind != "elsewhere" else ("trained elsewhere, budget unknown",)
    listed = (*listed, *(found.mark for found in row.alike))
    if row.failures:
        listed = (*listed, f"failed for seed {', '.join(str(seed) for seed in sorted(row.failures))}")
    return listed


def beside(row: ResultRow, dataset: str, decoding: str) -> dict[str, TableCell]:
    """Return how many prompts there are, how long the answers are, how many are cut or empty."""
    data = row.cells.get((dataset, decoding))
    if data is None or not data.summaries:
        status = _why(row, data, "answers")
        return {f"{dataset}/{name}": TableCell(status=status) for name in ("n", "length", "truncated", "empty")}
    answers = max(data.answers, 1)
    return {
        f"{dataset}/n": TableCell(float(next(iter(data.summaries.values())).n)),
        f"{dataset}/length": TableCell(data.total(lambda s: s.tokens) / answers),
        f"{dataset}/truncated": TableCell(data.total(lambda s: s.truncated) / answers),
        f"{dataset}/empty": TableCell(data.total(lambda s: s.empty) / answers),
    }


def seeds_cell(row: ResultRow, places: Sequence[tuple[str, str]]) -> TableCell:
    """Return how many seeds have answers in all places."""
    cells = [row.cells.get(place) for place in places]
    shared = set.intersection(*(set(cell.summaries) if cell else set() for cell in cells)) if cells else set()
    return TableCell(float(len(shared)))


def _why(row: ResultRow, data: CellData | None, metric: str) -> str:
    if data is None:
        return NOT_EVALUATED if row.described.seeds else NOT_RUN
    return data.lacking.get("answers") or data.lacking.get(metric) or NOT_SCORED
