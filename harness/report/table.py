"""A table before it has a form: cells with numbers, marks and captions, so that every renderer says the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

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


@dataclass(frozen=True)
class TableCell:
    """One number, in the column's own unit; the renderer applies the heading's scale."""

    value: float | str | None = None
    interval: Interval | None = None
    letters: str = ""
    missing: int = 0
    """Answers that have no value here."""
    status: str = ""
    """Why there is no number: ``failed``, ``not run``."""


@dataclass(frozen=True)
class TableRow:
    """One row."""

    label: str
    model: str
    cells: Mapping[str, TableCell]
    """By the heading's name."""
    marks: tuple[str, ...] = ()
    """``inactive``, ``generated data``, ``published``."""


@dataclass(frozen=True)
class Table:
    """One table with what a reader must know to read it."""

    name: str
    title: str
    headings: tuple[Heading, ...]
    rows: tuple[TableRow, ...]
    caption: tuple[str, ...] = field(default=())
    divided: bool = False
    """Whether a wide table is cut into one part for each group."""


def shown(cell: TableCell, heading: Heading) -> str:
    """Return a cell as text: mean ± half the interval, and tie letters."""
    if cell.status:
        return cell.status
    if cell.value is None:
        return "–"
    if isinstance(cell.value, str):
        return cell.value
    text = f"{cell.value * heading.scale:.{heading.digits}f}"
    if cell.interval is not None and cell.interval.low == cell.interval.low:  # NaN has no interval
        half = (cell.interval.high - cell.interval.low) / 2 * heading.scale
        text += f" ± {half:.{heading.digits}f}"
    if cell.letters:
        text += f" {cell.letters}"
    return text


def plain(cell: TableCell, heading: Heading) -> dict[str, Any]:
    """Return a cell for programs, scaled as it is shown; what is not known is absent, never null."""
    found: dict[str, Any] = {}
    if cell.status:
        found["status"] = cell.status
    elif isinstance(cell.value, str):
        found["value"] = cell.value
    elif cell.value is not None:
        found["value"] = cell.value * heading.scale
    if cell.interval is not None and cell.interval.low == cell.interval.low:  # as above
        found["low"] = cell.interval.low * heading.scale
        found["high"] = cell.interval.high * heading.scale
    if cell.letters:
        found["ties"] = cell.letters
    if cell.missing:
        found["missing"] = cell.missing
    return found
