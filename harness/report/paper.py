"""The tables of a paper in its own shape: printed figures beside those of runs, and what no run has said to be so."""

from __future__ import annotations

import json
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from harness.errors import InputError, suggest
from harness.report.calculated import Calculated
from harness.report.columns import ComparedColumns
from harness.report.results import NOT_RUN, NOT_SCORED, load_results
from harness.report.statistics import mean
from harness.report.table import Heading, Table, TableCell, TableRow
from harness.report.training import step_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from harness.api.registration import Column
    from harness.report.columns import ColumnKey
    from harness.report.results import ResultRow, Results
    from harness.spec.results.run import RunMetric

#: What a column is called that is no metric's.
SECONDS: Final = "s/step"
#: Digits behind the point of what is no metric's.
_DIGITS: Final = 3


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PaperRow(_Part):
    """One row, and which row of a run it is."""

    label: str
    method: str
    options: dict[str, Any] = {}
    """What the row's options have to be; of a list its length."""


class PaperColumn(_Part):
    """One column, and what of which benchmark it is."""

    label: str
    """The data and the score, with a comma between."""
    benchmark: str
    column: str
    """``METRIC.COLUMN``, or ``s/step``."""
    dataset: str | None = None
    """The data set whose label this is, or ends in; the one that was trained on where None."""
    statistic: str = "mean"
    printed: dict[str, float] = {}
    """By the row's label."""
    digits: int = 2
    """Behind the point of these."""
    of: str | None = None
    """Of which model, or on what, the printed figures are."""


class PaperTable(_Part):
    """One table or figure."""

    name: str
    title: str
    notes: tuple[str, ...] = ()
    rows: tuple[PaperRow, ...] | str
    """Or ``methods``, those that the paper compares."""
    columns: tuple[PaperColumn, ...] = Field(min_length=1)


class Paper(_Part):
    """What a paper prints."""

    title: str
    notes: tuple[str, ...]
    methods: tuple[PaperRow, ...]
    tables: tuple[PaperTable, ...]

    def rows(self, table: PaperTable) -> tuple[PaperRow, ...]:
        """Return the rows of a table."""
        return self.methods if isinstance(table.rows, str) else table.rows


class PaperTables(NamedTuple):
    """The tables of a paper, and what is said before them."""

    title: str
    notes: list[str]
    tables: list[Table]


class _Run(NamedTuple):
    name: str
    """As ``BENCHMARK/PROFILE``."""
    columns: ComparedColumns

    @property
    def results(self) -> Results:
        return self.columns.results

    @property
    def profile(self) -> str:
        """The name of its folder: the profile, and a digest of what was set otherwise."""
        return self.name.rpartition("/")[2]


def read_paper(name: str) -> Paper:
    """Read what a paper prints.

    Raises:
        InputError: no paper of this name.
    """
    folder = resources.files("harness.report").joinpath("papers")
    known = sorted(path.name.removesuffix(".json") for path in folder.iterdir() if path.name.endswith(".json"))
    if name not in known:
        raise InputError(
            "no paper of this name", where="--paper", got=name, expected=", ".join(known),
            did_you_mean=suggest(name, known),
        )  # fmt: skip
    return Paper.model_validate(json.loads(folder.joinpath(f"{name}.json").read_text(encoding="utf-8")))


def paper_tables(name: str, root: Path, folders: Sequence[Path]) -> PaperTables:
    """Return the tables of a paper with what runs have measured of them.

    Args:
        name: the paper's.
        root: the results.
        folders: those of the runs; of several of a benchmark all are shown.

    Raises:
        InputError: no paper of this name, or no run in a folder.
    """
    paper = read_paper(name)
    runs: dict[str, list[_Run]] = {}
    for folder in folders:
        results = load_results(root if folder.is_relative_to(root) else folder.parent.parent, folder)
        run = _Run(f"{results.manifest.benchmark}/{folder.name}", ComparedColumns(results, Calculated(folder)))
        runs.setdefault(results.manifest.benchmark, []).append(run)
    return PaperTables(paper.title, list(paper.notes), [_table(paper, table, runs) for table in paper.tables])


def _table(paper: Paper, table: PaperTable, runs: Mapping[str, Sequence[_Run]]) -> Table:
    """Return one table: the paper's rows of each model of each profile that any of its benchmarks was run with."""
    found = [run for benchmark in _benchmarks(table) for run in runs.get(benchmark, ())]
    places = list(dict.fromkeys((run.profile, model) for run in found for model in run.results.models))
    headings = [heading for number, column in enumerate(table.columns) for heading in _headings(number, column, runs)]
    rows = [
        TableRow(row.label, f"{model} ({profile})" if model else NOT_RUN, _cells(table, row, model, profile, runs))
        for profile, model in places or [("", "")]
        for row in paper.rows(table)
    ]
    return Table(table.name, table.title, tuple(headings), tuple(rows), tuple(_caption(table, runs)), divided=True)


def _benchmarks(table: PaperTable) -> list[str]:
    return list(dict.fromkeys(column.benchmark for column in table.columns))


def _caption(table: PaperTable, runs: Mapping[str, Sequence[_Run]]) -> list[str]:
    """Say which runs the table is from, of what the printed figures are, and what is not run."""
    given = [run.name for benchmark in _benchmarks(table) for run in runs.get(benchmark, ())]
    absent = [benchmark for benchmark in _benchmarks(table) if benchmark not in runs]
    told = {f"{column.label}: {column.of}" for column in table.columns if column.of}
    lines = [f"Here: from {', '.join(given)}."] if given else []
    if absent:
        lines.append(
            f"Not run: {', '.join(absent)}. `harness run {absent[0]} --profile paper` has the paper's setting."
        )
    if told:
        lines.append(f"Printed figures are of {'; '.join(sorted(told))}.")
    if given:
        lines.append(
            "Profiles other than the one called paper have other models and data: the two columns test nothing."
        )
    return [*lines, *table.notes]


def _headings(number: int, column: PaperColumn, runs: Mapping[str, Sequence[_Run]]) -> list[Heading]:
    described = next((known for run in runs.get(column.benchmark, ()) if (known := _described(run, column))), None)
    digits, scale = (described.digits, described.scale) if described else (_DIGITS, 1.0)
    group, _, label = column.label.partition(", ")
    printed = Heading(f"{number}/paper", f"{label}, paper", group, column.digits)
    here = Heading(f"{number}/here", f"{label}, here", group, digits, scale)
    dataset, statistic = column.dataset or column.benchmark, column.statistic
    return [
        printed.about(dataset=dataset, metric=column.column, statistic=f"{statistic}, printed"),
        here.about(dataset=dataset, metric=column.column, statistic=statistic),
    ]


def _cells(
    table: PaperTable, row: PaperRow, model: str, profile: str, runs: Mapping[str, Sequence[_Run]]
) -> dict[str, TableCell]:
    cells = {}
    for number, column in enumerate(table.columns):
        there = [
            run for run in runs.get(column.benchmark, ()) if run.profile == profile and model in run.results.models
        ]
        cells[f"{number}/paper"] = TableCell(column.printed.get(row.label))
        cells[f"{number}/here"] = _measured(there[0], row, column, model) if there else TableCell(status=NOT_RUN)
    return cells


def _measured(run: _Run, wanted: PaperRow, column: PaperColumn, model: str) -> TableCell:
    """Return what a run measured of one place; of several rows that fit, the first."""
    results = run.results
    rows = [row for row in results.rows if row.model == model and row.method == wanted.method and _fits(row, wanted)]
    if not rows:
        return TableCell(status=NOT_RUN)
    if column.column == SECONDS:
        seconds = step_seconds(rows[0])
        return TableCell(seconds, status=NOT_RUN if seconds is None else "")
    dataset, metric = _dataset(results, column), _metric(results, column)
    if dataset is None or metric is None:
        return TableCell(status=NOT_SCORED)
    place = column.column.partition(".")[2]
    listed = run.columns.of_metric(metric, dataset, results.decodings[0])
    shown = next((one for one in listed if one.place.column == place and not one.place.corpus), None)
    if shown is None:
        return TableCell(status=NOT_SCORED)
    cell = run.columns.cell(rows[0], shown)
    return cell if column.statistic == "mean" or cell.status else _deviation(results, rows[0], shown.place)


def _deviation(results: Results, row: ResultRow, place: ColumnKey) -> TableCell:
    """Return the standard deviation of the seeds' means."""
    values = row.cells[place.dataset, place.decoding].matrix(place.metric, place.column, results.seeds)
    means = [mean(of_seed) for of_seed in values] if values is not None else []
    known = [value for value in means if value is not None]
    return TableCell(float(np.std(known, ddof=1)) if len(known) > 1 else None, seeds=len(known), of=len(results.seeds))


def _fits(row: ResultRow, wanted: PaperRow) -> bool:
    has = {name: row.described.options.get(name) for name in wanted.options}
    counted = {name: len(value) if isinstance(value, list) else value for name, value in has.items()}
    return counted == wanted.options


def _dataset(results: Results, column: PaperColumn) -> str | None:
    """Return the label of a column's data set; generated ones are called by what they are shaped after."""
    if column.dataset is None:
        return next(iter(results.datasets("in-data")), None)
    others = results.datasets("cross")
    return next((name for name in others if name == column.dataset or name.endswith(f"-{column.dataset}")), None)


def _metric(results: Results, column: PaperColumn) -> RunMetric | None:
    use = column.column.partition(".")[0]
    return next((metric for metric in results.manifest.metrics if metric.use == use), None)


def _described(run: _Run, column: PaperColumn) -> Column | None:
    if column.column == SECONDS:
        return None
    metric = _metric(run.results, column)
    name = column.column.partition(".")[2]
    return next((one for one in metric.columns if one.name == name), None) if metric else None
