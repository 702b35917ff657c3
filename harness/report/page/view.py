"""A table as a template shows it: texts, marks, and what the script sorts by."""

from __future__ import annotations

import math
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from harness.report.grid import LONG, is_text
from harness.report.table import Heading, TableCell, shown, stands_out

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.report.table import Table, TableRow

#: A caption that stands open under its table is at most this many characters long; longer ones are folded.
_SHORT: Final = 130
#: Lines that are never folded begin with one of these.
_URGENT: Final = ("Error", "No claim", "Warning")
#: Why a cell has no number though nothing is wrong.
_NO_FAULT: Final = ("baseline", "not evaluated", "not scored")
#: Columns from which a table is said to be wider than a screen before any script has measured it.
_WIDE: Final = 9


class Group(NamedTuple):
    """A heading over several columns."""

    label: str
    span: int


class Cell(NamedTuple):
    """One cell."""

    number: str
    rest: str
    """What stands behind it in a softer colour."""
    css: str
    key: str
    """The number that rows are sorted by; empty where there is none, or the text is."""


class Label(NamedTuple):
    """The heading of one column."""

    text: str
    css: str
    first: str
    """The order that sorting by it begins with: ``ascending`` or ``descending``."""


class Row(NamedTuple):
    """One row."""

    names: list[str]
    marks: list[str]
    cells: list[Cell]
    link: str
    """Where its name leads; empty for nowhere."""


class View(NamedTuple):
    """One table."""

    anchor: str
    title: str
    names: list[str]
    groups: list[Group]
    labels: list[Label]
    rows: list[Row]
    said: list[str]
    """Short captions."""
    folded: list[str]
    """Long ones."""
    wide: bool


def views(tables: Sequence[Table], shared: Sequence[str] = ()) -> list[View]:
    """Return tables as a page shows them, without the captions that it says once; each has an anchor of its own."""
    anchors: set[str] = set()
    found = []
    for table in tables:
        anchor = slug(table.name, anchors)
        anchors.add(anchor)
        found.append(view(table, shared, anchor=anchor))
    return found


def slug(name: str, taken: set[str]) -> str:
    """Return a name made of letters, digits and hyphens that is not ``taken``, for an anchor or a file."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "x"
    number, found = 1, plain
    while found in taken:
        number += 1
        found = f"{plain}-{number}"
    return found


def view(
    table: Table, shared: Sequence[str] = (), *, anchor: str = "", links: Mapping[str, str] = MappingProxyType({})
) -> View:
    """Return one table; ``links`` says where the names of rows lead."""
    models = len({row.model for row in table.rows}) > 1
    headings = [heading for heading in table.headings if heading.shown]
    groups, begins = _groups(headings)
    texts = {heading.name for heading in headings for row in table.rows if is_text(row.cells.get(heading.name))}

    columns = {heading.name: [row.cells.get(heading.name, TableCell()) for row in table.rows] for heading in headings}

    def css(cell: TableCell, index: int) -> list[str]:
        name = headings[index].name
        best = ["best"] * stands_out(cell, columns[name])
        return ["first"] * (index in begins) + ["text"] * (name in texts) + best

    def row(of: TableRow) -> Row:
        cells = [
            _cell(cell, heading, css(cell, index))
            for index, heading in enumerate(headings)
            for cell in [of.cells.get(heading.name, TableCell())]
        ]
        return Row([of.label, *([of.model] * models)], list(of.marks), cells, links.get(of.label, ""))

    labels = [
        Label(
            _text(heading),
            " ".join(["first"] * (index in begins) + ["text"] * (heading.name in texts)),
            "ascending" if heading.name in texts or heading.higher_is_better is False else "descending",
        )
        for index, heading in enumerate(headings)
    ]
    names = [table.names[0], *([table.names[1]] * models)]
    said, folded = split([line for line in table.caption if line not in shared])
    wide = len(names) + len(labels) >= _WIDE
    return View(anchor, table.title, names, groups, labels, [row(of) for of in table.rows], said, folded, wide)


def split(lines: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the lines that stand open, and those that are folded: a short first one, and what is urgent, stand."""
    open_ = [line for n, line in enumerate(lines) if line.startswith(_URGENT) or (n == 0 and len(line) <= _SHORT)]
    return open_, [line for line in lines if line not in open_]


def _groups(headings: Sequence[Heading]) -> tuple[list[Group], set[int]]:
    """Return the headings over the columns, and where each begins; none where no column has one."""
    groups: list[Group] = []
    begins = set()
    for index, heading in enumerate(headings):
        label = heading.group if heading.group != heading.label else ""
        if groups and groups[-1].label == label:
            groups[-1] = Group(label, groups[-1].span + 1)
        else:
            groups.append(Group(label, 1))
            begins.add(index)
    return (groups, begins) if any(group.label for group in groups) else ([], set())


def _text(heading: Heading) -> str:
    arrow = {True: " ↑", False: " ↓", None: ""}[heading.higher_is_better]
    return f"{heading.label}{arrow}"


def _cell(cell: TableCell, heading: Heading, css: list[str]) -> Cell:
    said = shown(cell, heading)
    key = ""
    if cell.status:
        css += ["status"] + ["plain"] * (cell.status in _NO_FAULT)
    elif isinstance(cell.value, str):
        css += ["wide"] * (len(said) > LONG)
        return Cell(said, "", " ".join(css), "")
    if isinstance(cell.value, float) and math.isfinite(cell.value):
        key = f"{cell.value:.7g}"
    number, space, rest = said.partition(" " if cell.difference is not None else " ± ")
    return Cell(number, space + rest, " ".join(css), key)
