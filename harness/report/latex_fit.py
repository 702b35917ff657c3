"""A table as LaTeX's columns, and cut into parts that are no wider than a column of a paper, or its page."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from harness.report.grid import LONG, is_text
from harness.report.latex_text import breakable, escaped, lines_of, width_of
from harness.report.table import TableCell, shown, stands_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.report.table import Heading, Table

#: Points between two columns of LaTeX's.
GAP: Final = 6.0
#: Status words that are set in the cell itself; longer ones are a dash with a note.
_SHORT: Final = 9
#: The room of a name, a text and a line of a heading, as shares of the width.
_NAME, _TEXT, _HEADING = 0.32, 0.4, 0.2
_NUMBER: Final = re.compile(r"[+-]?\d+(?:\.\d+)?")
_MARKS: Final = (r"\dag", r"\ddag", r"\S", r"\P", r"\|", r"\ast")
#: How often a mark is repeated before numbers take its place.
_TIMES: Final = 2


@dataclass
class Notes:
    """Words that stand below a table, each with a mark where they apply."""

    words: dict[str, str] = field(default_factory=dict)
    """Text to its mark, in LaTeX."""

    def mark(self, text: str) -> str:
        """Return the mark of a text."""
        if text not in self.words:
            count = len(self.words)
            times, which = divmod(count, len(_MARKS))
            self.words[text] = _MARKS[which] * (times + 1) if times < _TIMES else f"({count + 1})"
        return f"${self.words[text]}$"


class Piece(NamedTuple):
    """One cell in LaTeX: what is aligned, and what follows it without being part of the number."""

    number: str
    after: str = ""
    wide: float = 0.0
    """Of the number, in points."""
    wide_after: float = 0.0


@dataclass
class Column:
    """One column of a table: one or two of LaTeX's."""

    heading: Heading
    label: list[str]
    """In lines, not yet escaped."""
    pieces: list[Piece]
    kind: str
    """``S`` for numbers, ``l`` for short texts, ``p`` for those that are broken into lines."""
    width: float
    share: float = 0.0
    """Of the line, for ``p``."""

    @property
    def has_after(self) -> bool:
        """Whether anything stands behind a number."""
        return any(piece.after for piece in self.pieces)

    @property
    def spans(self) -> int:
        """How many columns of LaTeX's it is."""
        return 1 + self.has_after

    def lines(self, index: int) -> int:
        """Return about how many lines a row takes in this column."""
        return 1 + int(1.1 * self.pieces[index].wide / max(self.width - GAP, 1.0)) if self.kind == "p" else 1

    @property
    def letters(self) -> str:
        """Its column specification."""
        if self.kind == "p":
            return rf">{{\raggedright\arraybackslash}}p{{{self.share:.3f}\linewidth}}"
        if self.kind == "l":
            return "l"
        return f"S[table-format={_format(self.pieces)}]" + (r"@{\,}l" if self.has_after else "")


class Part(NamedTuple):
    """As many columns of a table as fit."""

    columns: list[Column]
    width: float
    """In points, names included."""


def name_width(names: Sequence[str], room: float) -> tuple[float, bool]:
    """Return how wide the column of names is, and whether they have to be broken into lines."""
    natural = max((width_of(name) for name in names), default=0.0) + GAP
    return (natural, False) if natural <= _NAME * room else (_NAME * room, True)


def columns_of(table: Table, room: float, notes: Notes) -> list[Column]:
    """Return the shown columns of a table as LaTeX has them."""
    return [_column(table, heading, room, notes) for heading in table.headings if heading.shown]


def parts_of(columns: Sequence[Column], names: float, room: float) -> list[Part]:
    """Cut columns into parts; a number and its difference from the baseline stay together where both fit."""
    units: list[list[Column]] = []
    for column in columns:
        beside = units and column.heading.statistic == "difference"
        if beside and _width([*units[-1], column], names) <= room:
            units[-1].append(column)
        else:
            units.append([column])
    parts: list[list[Column]] = []
    for unit in units:
        if parts and _width([*parts[-1], *unit], names) <= room:
            parts[-1] += unit
        else:
            parts.append(list(unit))
    return [Part(_roomier(part, names, room), _width(part, names)) for part in parts]


def _roomier(part: list[Column], names: float, room: float) -> list[Column]:
    """Give texts that are broken what room is left."""
    broken = [column for column in part if column.kind == "p"]
    left = room - _width(part, names)
    for column in broken:
        column.width += max(0.0, left / len(broken))
        column.share = (column.width - GAP) / room
    return part


def _width(columns: Sequence[Column], names: float) -> float:
    """Return how wide columns are with the names before them, and what stands over several of them."""
    groups: dict[str, float] = {}
    for column in columns:
        groups[column.heading.group] = groups.get(column.heading.group, 0.0) + column.width
    over = {
        group: max((width_of(line) for line in lines_of(group, width)), default=0.0) for group, width in groups.items()
    }
    return names + sum(max(width, over[group] + GAP) for group, width in groups.items())


def _column(table: Table, heading: Heading, room: float, notes: Notes) -> Column:
    cells = [row.cells.get(heading.name) or TableCell() for row in table.rows]
    arrow = {True: "\u00a0↑", False: "\u00a0↓", None: ""}[heading.higher_is_better]
    texts = any(map(is_text, cells))
    label = lines_of(f"{heading.label}{arrow}".replace(" = ", "\u00a0=\u00a0"), _HEADING * room)
    over = max(map(width_of, label)) + GAP
    if texts:
        said = [shown(cell, heading) for cell in cells]
        natural = max(map(width_of, said), default=0.0) + GAP
        broken = natural > _TEXT * room or max(map(len, said)) > LONG
        pieces = [Piece((breakable if broken else escaped)(text), wide=width_of(text)) for text in said]
        width = max(over, min(natural, _TEXT * room) if broken else natural)
        return Column(heading, label, pieces, "p" if broken else "l", width)
    pieces = [_piece(cell, cells, heading, notes) for cell in cells]
    number, after = (max((getattr(p, name) for p in pieces), default=0.0) for name in ("wide", "wide_after"))
    return Column(heading, label, pieces, "S", max(over, number + after + GAP))


def _piece(cell: TableCell, column: Sequence[TableCell], heading: Heading, notes: Notes) -> Piece:
    text = shown(cell, heading)
    if cell.status or cell.value is None:
        if len(text) <= _SHORT:
            return Piece(f"{{{escaped(text)}}}", wide=width_of(text))
        return Piece(r"{\textendash{}}", _superscript(notes.mark(text)), width_of("–"), width_of("a"))
    number = _NUMBER.match(text)
    if number is None:  # not a finite number
        return Piece(f"{{{escaped(text)}}}", wide=width_of(text))
    rest, said = _rest(text[number.end() :], cell)
    marks = [notes.mark(word) for word in said]
    raised = cell.letters + "".join(marks)
    bold = r"\bfseries " if stands_out(cell, column) else ""
    after = _superscript(escaped(cell.letters) + "".join(marks)) if raised else ""
    wide = width_of(cell.letters) + 6 * len(marks)
    if rest := re.sub(r"-(?=\d)", "−", rest):  # a sign, and no hyphen
        after += f" {escaped(rest)}" if after else escaped(rest)
        wide += width_of(f" {rest}")
    return Piece(f"{bold}{number.group()}", after, width_of(number.group()) * (1.2 if bold else 1.02), wide)


def _rest(text: str, cell: TableCell) -> tuple[str, list[str]]:
    """Return what of a cell's text stands behind the number, and the words that become notes."""
    said = []
    if 0 < cell.seeds < cell.of and f"{cell.seeds} of {cell.of} seeds" in text:
        said.append(f"{cell.seeds} of {cell.of} seeds")
        text = text.replace(f" ({said[-1]})", "")
    difference = cell.difference
    words = difference.note if difference is not None else cell.fault
    if words and difference is not None:
        words = "these runs, new prompts" if text.endswith("these runs") else words
        text = re.sub(r" (?:these runs|[a-z][a-z ]*)$", "", text)
    elif words:
        text = text.replace(f" ({words})", "")
    if words and words != "two seeds":
        said.append(words)
    if cell.letters and difference is None:
        text = text.replace(f" {cell.letters}", "", 1)
    return text.strip(), said


def _superscript(text: str) -> str:
    return rf"\textsuperscript{{{text}}}"


def _format(pieces: Sequence[Piece]) -> str:
    """Return the room of the numbers of a column: sign, digits before the point and behind it."""
    numbers = [found for piece in pieces if (found := re.search(r"[+-]?\d[\d.]*$", piece.number))]
    if not numbers:
        return "1.0"
    texts = [found.group() for found in numbers]
    before = max(len(text.lstrip("+-").partition(".")[0]) for text in texts)
    behind = max(len(text.partition(".")[2]) for text in texts)
    sign = "+" if any(text[0] in "+-" for text in texts) else ""
    return f"{sign}{before}.{behind}"


def groups_of(columns: Sequence[Column]) -> list[tuple[str, list[Column]]]:
    """Return columns that stand side by side under one heading."""
    found: list[tuple[str, list[Column]]] = []
    for column in columns:
        if found and found[-1][0] == column.heading.group:
            found[-1][1].append(column)
        else:
            found.append((column.heading.group, [column]))
    return found
