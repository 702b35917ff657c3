"""The difference of each row from the baseline: the interval that the tables have, and a ring a seed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from harness.report.differences import ONE_SEED, TWO_SEEDS
from harness.report.pictures.figure import Axis, Dots, Figure, Frame, Key, Note, Panel, Rule, Span
from harness.report.pictures.source import known
from harness.report.pictures.theme import INK
from harness.report.statistics import SEEDS_FOR_CLAIMS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.report.columns import ComparedColumn
    from harness.report.pictures.figure import Part
    from harness.report.pictures.source import Source
    from harness.report.results import ResultRow
    from harness.report.table import TableCell
    from harness.spec.results.run import RunMetric

#: Lines that a panel may have: about as many as a page holds.
_MOST: Final = 60
_COLUMNS: Final = (
    "metric", "dataset", "decoding", "model", "row", "seed", "difference", "low", "high", "claimed", "seeds", "note",
)  # fmt: skip


@dataclass
class _Lines:
    """What is gathered for one panel, from the top down."""

    names: list[str] = field(default_factory=list)
    heads: list[int] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)


def differences(source: Source) -> Figure | None:
    """Draw the headline difference of every trained row from the baseline, by metric, data set and decoding."""
    results = source.results
    panels, lines = [], []
    notes: dict[str, None] = {}
    for metric in source.metrics:
        gathered, left_out = _Lines(), 0
        described = next(column for column in metric.columns if column.name == metric.headline)
        for column, model in _columns(source, metric):
            rows = [row for row in results.rows if row.model == model and row.trained]
            cells = [(row, source.columns.beside(row, column)) for row in rows if row.label != results.baseline]
            if not any(cell.difference for _, cell in cells):
                continue
            for row, cell in cells:
                lines += list(_numbers(source, metric, column, row, cell))
                notes |= dict.fromkeys(_said(source, row, cell))
            room = _MOST - len(gathered.names) - 1
            left_out += max(0, len(cells) - max(room, 0))
            if room > 0:
                _gather(gathered, source, column, model, cells[:room])
        if not gathered.names:
            continue
        if left_out:
            notes[f"{described.label}: {left_out} more differences are in the data of this picture."] = None
        unit = f" ({described.unit})" if described.unit else ""
        axis = Axis(f"{described.label}{unit}, difference to {results.baseline}", zero=True)
        down = Axis(names=tuple(gathered.names), heads=tuple(gathered.heads))
        parts = (Rule(0.0, vertical=True), *gathered.parts)
        panels.append(Panel(f"{described.label} minus {results.baseline}", axis, down, parts))
    if not panels:
        return None
    shown = {line[4] for line in lines}
    keys = [
        Key(key.text, key.look, "marker") for key in source.keys(label for label in shown if isinstance(label, str))
    ]
    if len(results.seeds) >= SEEDS_FOR_CLAIMS:
        keys += [Key("interval excludes 0", INK, "marker"), Key("does not", INK, "open")]
        how = (
            "Lines are the 95 % confidence intervals of the paired differences, adjusted for all rows of their group, "
            "as in the tables: a filled marker is a difference that is claimed."
        )
    else:
        count = "One seed" if len(results.seeds) == 1 else "Two seeds"
        notes[f"{count}: nothing is claimed, and no interval is drawn."] = None
        how = "With fewer than three seeds there is no interval, and nothing is claimed."
    caption = f"How far each row lies from {results.baseline} on the same prompts with the same seeds. {how}"
    if len(results.seeds) > 1:
        keys.append(Key("one seed", INK, "seed"))
    frame = Frame(_COLUMNS, tuple(lines))
    title = f"Difference to {results.baseline}"
    return Figure("differences", title, caption, tuple(panels), tuple(keys), tuple(notes), frame)


def _columns(source: Source, metric: RunMetric) -> Iterator[tuple[ComparedColumn, str]]:
    """Yield the columns of a metric by model: on the first data sets under every decoding, else as the tables do."""
    results = source.results
    for model in results.models:
        for dataset in source.datasets:
            every = dataset in results.datasets("in-data")
            for decoding in source.decodings(metric) if every else [results.decoding_of(metric)]:
                yield source.headline(metric, dataset, decoding), model


def _gather(
    to: _Lines, source: Source, column: ComparedColumn, model: str, cells: list[tuple[ResultRow, TableCell]]
) -> None:
    """Add a heading and a line for each row."""
    to.heads.append(len(to.names))
    to.names.append(f"{column.place.dataset}, {column.place.decoding}{source.several(model)}")
    scale = column.heading.scale
    for row, cell in cells:
        y, look = float(len(to.names)), source.looks[row.label]
        to.names.append(row.label)
        found = cell.difference
        if found is None:
            own = source.columns.cell(row, column)
            to.parts.append(Note(0.0, y, own.status or own.fault or "no difference"))
            continue
        centre = found.estimate * scale
        if found.known and found.note != ONE_SEED:
            to.parts.append(Span((found.low * scale, y), (found.high * scale, y), look))
        if found.seeds > 1:
            seeds = tuple(value * scale for value in found.per_seed)
            to.parts.append(Dots(seeds, (y,) * len(seeds), look, "seed"))
        digits = column.heading.digits
        tip = f"{row.label}: {centre:+.{digits}f}"
        if found.known and found.note != ONE_SEED:
            tip += f" [{found.low * scale:+.{digits}f}, {found.high * scale:+.{digits}f}]"
        to.parts.append(Dots((centre,), (y,), look, "full" if found.claimed else "open", (tip,)))


def _said(source: Source, row: ResultRow, cell: TableCell) -> Iterator[str]:
    """Say why a row with seeds enough has no interval."""
    found = cell.difference
    if found is None or found.known or found.note == TWO_SEEDS:
        return
    yield f"{source.named(row)}: {found.note}, so nothing is claimed."


def _numbers(
    source: Source, metric: RunMetric, column: ComparedColumn, row: ResultRow, cell: TableCell
) -> Iterator[tuple[str | float | None, ...]]:
    """Yield the difference, then that of each seed."""
    place, found, scale = column.place, cell.difference, column.heading.scale
    whose = (f"{metric.use}.{place.column}", place.dataset, place.decoding, row.model, row.label)
    if found is None:
        own = source.columns.cell(row, column)
        yield (*whose, None, None, None, None, None, None, own.status or own.fault or "no difference")
        return
    drawn = found.note != ONE_SEED
    ends = [known(end * scale) if drawn and not math.isnan(end) else None for end in (found.low, found.high)]
    claimed = "yes" if found.claimed else "no"
    yield (*whose, None, found.estimate * scale, *ends, claimed, found.seeds, found.note)
    seeds = _seeds(source, row, column)
    for number, value in enumerate(found.per_seed):
        seed = seeds[number] if len(seeds) == len(found.per_seed) else None
        yield (*whose, seed, value * scale, None, None, None, None, "")


def _seeds(source: Source, row: ResultRow, column: ComparedColumn) -> list[int]:
    """Return the seeds that a row and the baseline were both scored with."""
    place, results = column.place, source.results
    both = [
        set(other.cells[place.dataset, place.decoding].scores.get(place.metric, {}))
        for other in results.rows
        if other.model == row.model
        and other.label in {row.label, results.baseline}
        and (place.dataset, place.decoding) in other.cells
    ]
    return [seed for seed in results.seeds if both and all(seed in seeds for seeds in both)]
