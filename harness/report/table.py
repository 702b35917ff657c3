"""A table before it has a form: cells with numbers, marks and captions, so that every renderer says the same."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from harness.report.differences import ONE_SEED, TWO_SEEDS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from harness.report.differences import Difference
    from harness.report.statistics import Interval


@dataclass(frozen=True)
class Heading:
    """One column."""

    name: str
    """Unique within the table; what CSV and JSON use."""
    label: str
    """What people read."""
    group: str = ""
    """The data set or decoding that several columns share."""
    digits: int = 2
    scale: float = 1.0
    higher_is_better: bool | None = None
    shown: bool = True
    """False for a column that CSV and JSON have and that would only widen what people read."""
    bare: bool = False
    """Whether people read the numbers without ±, because the difference from a baseline is beside them."""
    foldable: bool = False
    """Whether people read it in the caption, once, where it is the same in every row."""
    ends: bool = False
    """Whether people read both ends of an interval, in brackets, and not ±."""
    dataset: str = ""
    decoding: str = ""
    metric: str = ""
    """Whose answers were measured by what, as ``METRIC.COLUMN``; empty where the column is about no answers."""
    statistic: str = ""
    """What was made of the values: ``mean``, ``difference``, ``sd``, ``seed 0``; empty where it needs no name."""
    baseline: str = ""
    """What it is a difference from."""

    def about(
        self, *, dataset: str = "", decoding: str = "", metric: str = "", statistic: str = "", baseline: str = ""
    ) -> Heading:
        """Return the column with what programs are told that it measures."""
        return replace(self, dataset=dataset, decoding=decoding, metric=metric, statistic=statistic, baseline=baseline)


@dataclass(frozen=True)
class TableCell:
    """One number, in the column's own unit; the renderer applies the heading's scale."""

    value: float | str | None = None
    interval: Interval | None = None
    letters: str = ""
    missing: int = 0
    """Answers that have no value here."""
    status: str = ""
    """Why there is no number: ``failed``, ``not stored``, ``no value``."""
    seeds: int = 0
    """How many seeds the number is from, where the run has several."""
    of: int = 0
    """How many seeds the run has."""
    fault: str = ""
    """What is wrong with the number."""
    difference: Difference | None = None
    """What the number is, if it is the difference of the row from the baseline."""
    by_seed: tuple[float, ...] = ()
    """The mean of each seed, where these are too few for an interval."""


@dataclass(frozen=True)
class TableRow:
    """One row."""

    label: str
    model: str
    cells: Mapping[str, TableCell]
    """By the heading's name."""
    marks: tuple[str, ...] = ()
    """``inactive``, ``failed for seed 1``, ``published``."""


@dataclass(frozen=True)
class Table:
    """One table with what a reader must know to read it."""

    name: str
    title: str
    headings: tuple[Heading, ...]
    rows: tuple[TableRow, ...]
    caption: tuple[str, ...] = ()
    divided: bool = False
    """Whether a wide table is cut into one part for each group."""
    names: tuple[str, str] = ("method", "model")
    """What a row's label and its model are called; the second is shown where it is not the same in all rows."""


def shown(cell: TableCell, heading: Heading) -> str:
    """Return a cell as text: mean ± the distance to the further end of its interval, letters, seeds if some lack.

    Two seeds have no interval, and both are shown, unless a difference beside says it. An interval that leans would
    look more certain on one side than it is, if half its width were shown. A difference is shown with both ends, in
    brackets; with two seeds both seeds' differences are in parentheses.
    """
    if cell.status:
        return cell.status
    if cell.value is None:
        return "–"
    if isinstance(cell.value, str):
        return cell.value
    if cell.difference is not None:
        return _difference(cell.difference, heading, cell.of)
    text = f"{cell.value * heading.scale:.{heading.digits}f}"
    if cell.interval is not None and cell.interval.known and heading.ends:
        low, high = (f"{end * heading.scale:.{heading.digits}f}" for end in (cell.interval.low, cell.interval.high))
        text += f" [{low}, {high}]"
    elif cell.interval is not None and cell.interval.known and not heading.bare:
        text += f" ± {cell.interval.reach * heading.scale:.{heading.digits}f}"
    elif len(cell.by_seed) > 1 and not heading.bare:
        text += f" ({', '.join(f'{value * heading.scale:.{heading.digits}f}' for value in cell.by_seed)})"
    if cell.letters:
        text += f" {cell.letters}"
    if 0 < cell.seeds < cell.of:
        text += f" ({cell.seeds} of {cell.of} seeds)"
    return f"{text} ({cell.fault})" if cell.fault else text


def _difference(difference: Difference, heading: Heading, of: int) -> str:
    def signed(value: float) -> str:
        return f"{value * heading.scale:+.{heading.digits}f}"

    text = signed(difference.estimate)
    if difference.note == TWO_SEEDS:
        return f"{text} ({', '.join(signed(value) for value in difference.per_seed)})"
    if difference.known:
        text += f" [{signed(difference.low)}, {signed(difference.high)}]"
    if difference.note == ONE_SEED:
        return f"{text} these runs"
    if 0 < difference.seeds < of:
        text += f" ({difference.seeds} of {of} seeds)"
    return f"{text} {difference.note}" if difference.note else text


def stands_out(cell: TableCell, column: Collection[TableCell]) -> bool:
    """Return whether a number is set in bold: a claimed difference, or a best row where not all share its letter."""
    if cell.difference is not None:
        return cell.difference.claimed
    lettered = [other for other in column if other.letters]
    return _best(cell) and not all(_best(other) for other in lettered)


def _best(cell: TableCell) -> bool:
    return re.search(r"a(?!\d)", cell.letters) is not None  # and not the a1 that follows z


def in_order(table: Table, places: Mapping[tuple[str, str], int]) -> Table:
    """Return the table with its rows in the places that their models and labels have, any others below them.

    A table whose rows go on from each other (points of a curve, shares of a budget) keeps its own order.
    """
    names = [(row.model, row.label) for row in table.rows]
    known = [name for name in names if name in places]
    if names[: len(known)] != known or len(set(known)) < len(known):
        return table
    first = sorted(table.rows[: len(known)], key=lambda row: places[row.model, row.label])
    return replace(table, rows=(*first, *table.rows[len(known) :]))


def plain(cell: TableCell, heading: Heading) -> dict[str, Any]:
    """Return a cell for programs, scaled as it is shown; what is not known is absent, never null."""
    values: dict[str, Any] = {}
    if cell.status:
        values["status"] = cell.status
    elif isinstance(cell.value, str):
        values["value"] = cell.value
    elif cell.value is not None:
        values["value"] = cell.value * heading.scale
    if cell.interval is not None and cell.interval.known:
        values["low"] = cell.interval.low * heading.scale
        values["high"] = cell.interval.high * heading.scale
    if cell.letters:
        values["letters"] = cell.letters
    if cell.difference is not None:
        values |= _parts(cell.difference, heading)
    if cell.by_seed:
        values["by_seed"] = [value * heading.scale for value in cell.by_seed]
    if cell.missing:
        values["missing"] = cell.missing
    if cell.seeds:
        values["seeds"] = cell.seeds
    if cell.fault:
        values["note"] = cell.fault
    return values


def _parts(difference: Difference, heading: Heading) -> dict[str, Any]:
    """Return what else is known of a difference."""
    parts: dict[str, Any] = {"claimed": difference.claimed, "prompts": difference.prompts, "seeds": difference.seeds}
    if not math.isnan(difference.p):
        parts["p"] = difference.p
    if difference.note:
        parts["note"] = difference.note
    if not math.isnan(difference.detectable):
        parts["detectable"] = difference.detectable * heading.scale
    if difference.seeds > 1:
        parts["by_seed"] = [value * heading.scale for value in difference.per_seed]
    return parts


def folded(table: Table) -> Table:
    """Return the table as people read it: what is the same in every row is said in the caption, once."""
    same: dict[str, str] = {}
    for heading in table.headings:
        cells = [row.cells[heading.name] for row in table.rows if heading.name in row.cells]
        texts = {shown(cell, heading) for cell in cells}
        numbers = heading.foldable and heading.shown and not any(cell.status for cell in cells)
        if numbers and len(texts) == 1 and len(table.rows) > 1:
            same[heading.name] = f"{heading.dataset or heading.group} {heading.label} {texts.pop()}".strip()
    if not same:
        return table
    headings = tuple(replace(h, shown=h.shown and h.name not in same) for h in table.headings)
    said = ", ".join(text for text in same.values() if not text.endswith(" –"))
    caption = (*table.caption, f"The same in every row: {said}.") if said else table.caption
    return replace(table, headings=headings, caption=caption)
