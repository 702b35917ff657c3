"""Figures that papers printed, as data with their places; beside measured ones, compared with none."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Any

from harness.errors import InputError, suggest
from harness.report.columns import ColumnKey
from harness.report.rewards import accuracy_cell
from harness.report.table import Heading, Table, TableCell, TableRow, shown
from harness.report.training import step_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.api.registration import Column
    from harness.report.columns import ComparedColumns
    from harness.report.results import ResultRow, Results


@dataclass(frozen=True)
class Figure:
    """One printed number."""

    place: str
    """Table or section."""
    benchmark: str
    """Name of the benchmark that measures the same thing; empty where the setting is not known, shown with any."""
    setting: str
    row: str
    column: str
    value: float
    note: str = ""
    beside: Mapping[str, Any] = field(default_factory=dict)
    """What is measured of it here: ``method``, ``options`` (of a list its length), ``column``."""

    @property
    def where(self) -> str:
        """Whose number it is, and where it is printed."""
        return f"{self.row}, {self.place}" + (f": {self.setting}" if self.setting else "")

    @property
    def printed(self) -> str:
        """The number as text: it is compared with none."""
        return f"{self.value:g}"


def published_table(columns: ComparedColumns) -> Table:
    """Return the figures of the paper that a run names, with what was measured beside them, as a table of their own."""
    manifest = columns.results.manifest
    assert manifest.published is not None  # else no such table is asked for
    data = _read(manifest.published)
    figures = figures_of(columns.results)
    headings = (
        Heading("printed", "published"),
        Heading("measured", "measured here"),
        Heading("note", "note"),
    )
    rows = []
    for figure in figures:
        cells = {"printed": TableCell(figure.printed)}
        if measured := _measured(figure, columns):
            cells["measured"] = TableCell(measured)
        if figure.note:
            cells["note"] = TableCell(figure.note)
        rows.append(TableRow(f"{figure.where}, {figure.column}", data["title"], cells, ("published",)))
    places = {figure.place for figure in figures}
    notes = [note["text"] for note in data["notes"] if not note.get("places") or places & set(note["places"])]
    if rows:
        notes.append(
            "Measured here: with this profile's models and data, which are the paper's own in the profile paper alone; "
            "a difference between the two columns is not a test of anything."
        )
    title = f"Published figures: {data['title']}"
    return Table("published", title, headings, tuple(rows), tuple(notes), names=("figure", "paper"))


def figures_of(results: Results) -> list[Figure]:
    """Return the figures of the paper that a run names, as far as they are of its benchmark; none where it names none.

    Raises:
        InputError: there are no figures of this name.
    """
    manifest = results.manifest
    if manifest.published is None:
        return []
    listed = _read(manifest.published)["figures"]
    return [Figure(**figure) for figure in listed if figure["benchmark"] in {"", manifest.benchmark}]


def _read(name: str) -> dict[str, Any]:
    names = sorted(
        path.name.removesuffix(".json")
        for path in resources.files("harness.report").joinpath("figures").iterdir()
        if path.name.endswith(".json")
    )
    if name not in names:
        raise InputError(
            "no published figures of this name", where="published", got=name, expected=", ".join(names),
            did_you_mean=suggest(name, names),
        )  # fmt: skip
    text = resources.files("harness.report").joinpath("figures", f"{name}.json").read_text(encoding="utf-8")
    data: dict[str, Any] = json.loads(text)
    return data


def _measured(figure: Figure, columns: ComparedColumns) -> str:
    """Return what this run measured of a figure, of every row that it could be; empty where it measured nothing."""
    results, beside = columns.results, figure.beside
    if beside.get("column") == "reward-model accuracy":
        accuracies = {model: accuracy_cell(results, model) for model in results.manifest.reward_models}
        heading = Heading("", "", "", 1, 100.0)
        return _joined({model: shown(cell, heading) for model, cell in accuracies.items()})
    rows = [row for row in results.rows if beside and row.method == beside["method"] and _has(row, beside)]
    texts = {f"{row.label} ({row.model})": text for row in rows if (text := _of_row(row, beside["column"], columns))}
    return _joined(texts)


def _joined(texts: Mapping[str, str]) -> str:
    """Return the only text, or all of them with their names."""
    return "; ".join(text if len(texts) == 1 else f"{name} {text}" for name, text in texts.items())


def _has(row: ResultRow, beside: Mapping[str, Any]) -> bool:
    for name, wanted in beside.get("options", {}).items():
        value = row.described.options.get(name)
        if (len(value) if isinstance(value, list) else value) != wanted:
            return False
    return True


def _of_row(row: ResultRow, column: str, columns: ComparedColumns) -> str:
    """Return a row's mean ± its interval on the in-data test under the first decoding, or its seconds a step."""
    results = columns.results
    if column == "s/step":
        seconds = step_seconds(row)
        return f"{seconds:.3f}" if seconds is not None else ""
    use, _, name = column.partition(".")
    metric = next((metric for metric in results.manifest.metrics if metric.use == use), None)
    described = next((c for c in metric.columns if c.name == name), None) if metric else None
    if described is None or not results.evaluated:
        return ""
    dataset = (results.datasets("in-data") or results.datasets("cross"))[0]
    data = row.cells.get((dataset, results.decodings[0]))
    place = ColumnKey(dataset, results.decodings[0], use, name)
    interval = columns.own(data, place, described) if data else None
    if interval is None:
        return ""
    return f"{described.label} {shown(TableCell(interval.mean, interval), _heading(described))}"


def _heading(described: Column) -> Heading:
    return Heading("", "", "", described.digits, described.scale)
