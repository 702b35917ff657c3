"""What training cost: scores against it, and where the seconds of a step went."""

from __future__ import annotations

import math
import statistics as stats
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from harness.report import timing
from harness.report.pictures.figure import Axis, Bar, Dots, Figure, Frame, Key, Look, Note, Panel, Span
from harness.report.pictures.source import MOST_CURVES, first_of, known
from harness.report.pictures.theme import INK
from harness.report.training import timing_table
from harness.spec.results.train import PHASES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.report.columns import ComparedColumn
    from harness.report.pictures.figure import Part
    from harness.report.pictures.source import Score, Source
    from harness.report.results import ResultRow, Results
    from harness.report.table import TableCell, TableRow

_COLOURS: Final = dict(zip(PHASES, ("blue", "orange", "green", "pink", "baseline"), strict=True))
#: Rows that one page of bars holds.
_MOST_BARS: Final = 60


class _Cost(NamedTuple):
    """Of a row's own training, mean over its seeds."""

    seconds: float
    sampled: float
    """Tokens."""


def cost(source: Source) -> Figure | None:
    """Draw the headline score of each row over what its own training cost, sampled at random and greedily."""
    if not source.metrics:
        return None
    results, metric = source.results, source.metrics[0]
    shown = [source.headline(metric, source.datasets[0], name) for name in _decodings(source)]
    costs = {(row.model, row.label): spent for row in results.rows if (spent := _cost(row, results)) is not None}
    trained = any(row.trained and (row.model, row.label) in costs for row in results.rows)
    if not trained or not shown:
        return None
    rows = [row for row in results.rows if (row.model, row.label) in costs]
    drawn, notes = first_of(rows, 3 * MOST_CURVES, "Scores and costs")
    label = next(column.label for column in metric.columns if column.name == metric.headline)
    panels, lines, labels = [], [], []
    for model in results.models:
        scores = [
            (row, column, found)
            for row in drawn
            if row.model == model
            for column in shown
            if (found := source.score(row, column)) is not None
        ]
        if not scores:
            continue
        labels += [row.label for row, _, _ in scores]
        for name, title in (("seconds", "seconds of its own training"), ("sampled", "tokens sampled in training")):
            parts: list[Part] = []
            along = {row.label: float(getattr(costs[row.model, row.label], name)) for row, _, _ in scores}
            asides = _asides(along)
            for row, column, found in scores:
                first = column is shown[0]
                aside = asides[row.label] + (0 if len(shown) == 1 else -2.5 if first else 2.5)
                fill: Literal["full", "open"] = "full" if first else "open"
                parts += _point(source.looks[row.label], fill, along[row.label], found, row.label, aside)
            head = f"{label} over {title}{source.several(model)}"
            panels.append(Panel(head, Axis(title, zero=True), Axis(), tuple(parts)))
        lines += [_line(row, column, found, costs[row.model, row.label]) for row, column, found in scores]
    if not panels:
        return None
    keys = [Key(key.text, key.look, "marker") for key in source.keys(labels)]
    names = [column.place.decoding for column in shown]
    if len(names) > 1:
        keys += [Key(f"filled: {names[0]}", INK, "marker"), Key(f"open: {names[1]}", INK, "open")]
    caption = (
        f"{label} on {source.datasets[0]}, decoded as {' and '.join(names)}, over what the training of each row's own "
        f"method cost, mean over seeds; whatever all rows share is left out. Lines: {source.spread_words()}."
    )
    columns = ("model", "row", "decoding", "score", "low", "high", "seconds", "tokens_sampled")
    return Figure(
        "cost", "Score against cost", caption, tuple(panels), tuple(keys), notes, Frame(columns, tuple(lines))
    )


def _decodings(source: Source) -> list[str]:
    """Return the first decoding that draws at random, and the first that does not, as far as there are any."""
    able, every = source.decodings(source.metrics[0]), source.results.manifest.decodings
    drawn = [name for name in able if every[name].temperature > 0]
    greedy = [name for name in able if every[name].temperature == 0]
    return [*drawn[:1], *greedy[:1]]


def _cost(row: ResultRow, results: Results) -> _Cost | None:
    """Return what a row cost; nothing for the untrained model, and None where that is not known."""
    if row.kind == "base":
        return _Cost(0.0, 0.0)
    if not row.trained or not row.training:
        return None
    summaries = [timing.measured(record, timing.warmup_steps(results)) for record in row.training.values()]
    return _Cost(
        stats.fmean(sum(summary.seconds.values()) for summary in summaries),
        stats.fmean(summary.tokens_generated for summary in summaries),
    )


def _asides(spent: Mapping[str, float]) -> dict[str, float]:
    """Return how many pixels each row is drawn aside, where several cost about the same."""
    near = 0.02 * max(spent.values())
    groups: list[list[str]] = []
    for label in sorted(spent, key=lambda label: spent[label]):
        if groups and spent[label] - spent[groups[-1][0]] <= near:
            groups[-1].append(label)
        else:
            groups.append([label])
    return {label: 12.0 * (place - (len(group) - 1) / 2) for group in groups for place, label in enumerate(group)}


def _point(look: Look, fill: Literal["full", "open"], at: float, found: Score, label: str, aside: float) -> list[Part]:
    tip = f"{label}: {found.value:.4g}"
    parts: list[Part] = []
    if not math.isnan(found.low):
        parts.append(Span((at, found.low), (at, found.high), look, thick=False, aside=aside))
    parts.append(Dots((at,), (found.value,), look, fill, (tip,), aside))
    return parts


def _line(row: ResultRow, column: ComparedColumn, found: Score, spent: _Cost) -> tuple[str | float | None, ...]:
    numbers = (found.value, known(found.low), known(found.high), spent.seconds, spent.sampled)
    return (row.model, row.label, column.place.decoding, *numbers)


def phases(source: Source) -> Figure | None:
    """Draw the seconds of a step by phase, as the table of timing has them."""
    table = timing_table(source.results)
    rows = [row for row in table.rows if _number(row.cells["total"]) is not None]
    if not rows:
        return None
    lines = [(row.model, row.label, name, _number(row.cells[name])) for row in rows for name in ("total", *PHASES)]
    panels = [_bars(rows[:_MOST_BARS], source)]
    notes = () if len(rows) <= _MOST_BARS else (f"The first {_MOST_BARS} of {len(rows)} rows are drawn.",)
    keys = tuple(Key(name.replace("_", "/"), Look(_COLOURS[name]), "box") for name in PHASES)
    caption = (
        "Medians over the steps of the stage in which each row's own method is active, mean over seeds, as in the "
        "table of timing. The number is the median of whole steps, to which medians of phases need not add up."
    )
    frame = Frame(("model", "row", "phase", "seconds"), tuple(lines))
    return Figure("phases", "Seconds a step, by phase", caption, tuple(panels), keys, notes, frame, beside=1)


def _bars(rows: list[TableRow], source: Source) -> Panel:
    parts: list[Part] = []
    for y, row in enumerate(rows):
        reached = 0.0
        for name in PHASES:
            value = _number(row.cells[name]) or 0.0
            tip = f"{row.label}, {name.replace('_', '/')}: {value:.4g} s"
            parts.append(Bar(float(y), reached, reached + value, _COLOURS[name], tip))
            reached += value
        parts.append(Note(reached, float(y), f"{_number(row.cells['total']):.3f} s", width=64))
    names = tuple(f"{row.label}{source.several(row.model)}" for row in rows)
    return Panel("Seconds a step", Axis("seconds a step", zero=True), Axis(names=names), tuple(parts))


def _number(cell: TableCell) -> float | None:
    return cell.value if isinstance(cell.value, float) else None
