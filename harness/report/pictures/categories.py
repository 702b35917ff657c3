"""Scores by category of the prompt: which kind of prompt a method gains on, as a heat map."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from harness.report.answers import categories as categories_in
from harness.report.pictures.figure import Axis, Cell, Figure, Frame, Panel
from harness.report.pictures.source import first_of
from harness.report.statistics import mean
from harness.spec.results.rows import DataRow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.report.columns import ComparedColumn
    from harness.report.pictures.source import Source
    from harness.report.results import ResultRow, Results

_MOST_ROWS: Final = 16
_ALL: Final = "all prompts"


def categories_of(results: Results, dataset: str) -> Mapping[str, str] | None:
    """Return the category of each prompt by its id; None where the rows of a data set have none, or are not stored."""
    described = next(data for data in results.manifest.datasets if data.label == dataset and data.role != "train")
    record = results.find("prepare", described.stage)
    if record is None:
        return None
    return categories_in(list(record.lines(DataRow))) or None


def categories(source: Source) -> Figure | None:
    """Draw the headline score of every row by category, data set by data set."""
    if not source.metrics:
        return None
    results, metric = source.results, source.metrics[0]
    panels, lines = [], []
    notes: dict[str, None] = {}
    for dataset in source.datasets:
        known = categories_of(results, dataset)
        if known is None:
            continue
        column = source.headline(metric, dataset, results.decoding_of(metric))
        for model in results.models:
            of = [row for row in results.rows if row.model == model and source.score(row, column) is not None]
            rows, said = first_of(of, _MOST_ROWS, "Categories")
            if rows:
                notes |= dict.fromkeys(said)
                panel, numbers = _map(source, rows, column, known)
                panels.append(panel)
                lines += numbers
    if not panels:
        return None
    label = next(column.label for column in metric.columns if column.name == metric.headline)
    caption = (
        f"{label} under {results.decoding_of(metric)}, mean over seeds and the prompts of a category (how many in "
        "parentheses). Few prompts say little: no difference within a category is claimed."
    )
    columns = ("dataset", "decoding", "model", "row", "category", "prompts", "score")
    frame = Frame(columns, tuple(lines))
    return Figure("categories", f"{label} by category", caption, tuple(panels), (), tuple(notes), frame, beside=1)


def _map(
    source: Source, rows: Sequence[ResultRow], column: ComparedColumn, known: Mapping[str, str]
) -> tuple[Panel, list[tuple[str | float | None, ...]]]:
    """Return the heat map of some rows, and its numbers."""
    place, scale = column.place, column.heading.scale
    counts = Counter(known[name] for name in rows[0].cells[place.dataset, place.decoding].ids if name in known)
    names = [*sorted(counts), _ALL]
    values: dict[tuple[int, int], float] = {}
    for x, row in enumerate(rows):
        data = row.cells[place.dataset, place.decoding]
        matrix = data.matrix(place.metric, place.column, source.results.seeds)
        if matrix is None:
            continue
        for y, name in enumerate(names):
            chosen = [number for number, key in enumerate(data.ids) if name == _ALL or known.get(key) == name]
            found = mean(matrix[:, chosen])
            if found is not None:
                values[x, y] = found * scale
    low, high = min(values.values()), max(values.values())
    digits = min(column.heading.digits, 1) if scale == 100 else column.heading.digits
    cells = []
    for (x, y), value in values.items():
        share = (value - low) / (high - low) if high > low else 0.5
        tip = f"{rows[x].label}, {names[y]}: {value:.{column.heading.digits}f}"
        cells.append(Cell(x, y, share, f"{value:.{digits}f}", tip))
    total = sum(counts.values())
    lines: list[tuple[str | float | None, ...]] = [
        (place.dataset, place.decoding, rows[x].model, rows[x].label, names[y], counts.get(names[y], total), value)
        for (x, y), value in values.items()
    ]
    down = Axis(names=tuple(f"{name} ({counts.get(name, total)})" for name in names))
    across = Axis(names=tuple(row.label for row in rows))
    title = f"{column.described.label} on {place.dataset}, {place.decoding}{source.several(rows[0].model)}"
    return Panel(title, across, down, tuple(cells), names_on_top=True), lines
