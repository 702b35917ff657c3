"""Tables as one page of HTML: no script, nothing from elsewhere, and no text in it becomes markup."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import jinja2
from markupsafe import Markup

from harness.report.grid import LONG, is_text, visible
from harness.report.markdown import shared_lines
from harness.report.pictures.svg import STYLE
from harness.report.table import Heading, Table, TableCell, folded, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.report.pictures.every import Picture

#: A row that no row is better than: letter a, and not the a1 that follows z.
_BEST = re.compile(r"a(?!\d)")


class _HtmlGroup(NamedTuple):
    label: str
    span: int


class _Cell(NamedTuple):
    number: str
    rest: str
    css: str


class _Label(NamedTuple):
    text: str
    css: str


class _HtmlRow(NamedTuple):
    names: list[str]
    marks: list[str]
    cells: list[_Cell]


class _Drawn(NamedTuple):
    name: str
    title: str
    caption: str
    wide: Markup
    narrow: Markup


class _View(NamedTuple):
    title: str
    names: list[str]
    groups: list[_HtmlGroup]
    labels: list[_Label]
    rows: list[_HtmlRow]
    caption: list[str]


def page(
    title: str,
    notes: Sequence[str],
    tables: Sequence[Table],
    ending: Sequence[str] = (),
    pictures: Sequence[Picture] = (),
) -> str:
    """Return every table, uncut: wide ones scroll under their header; the pictures stand below the first."""
    tables = [folded(table) for table in tables]
    shared = shared_lines(tables)
    return render(
        "leaderboard.html",
        title=title,
        notes=list(notes),
        views=[_view(table, shared) for table in tables],
        shared=shared,
        ending=list(ending),
        pictures=[_drawn(picture) for picture in pictures],
        picture_style=Markup(STYLE),  # noqa: S704  # no text of a run is in it
    )


def _drawn(picture: Picture) -> _Drawn:
    """Return a picture for screens and for phones; its writer has escaped every text."""
    wide, narrow = (Markup(picture.svg("page", column=column)) for column in (False, True))  # noqa: S704
    return _Drawn(picture.name, picture.title, picture.caption, wide, narrow)


def render(name: str, **values: Any) -> str:
    """Return a page from a template of this package; every text in it is escaped."""
    return _environment().get_template(name).render(values)


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("harness.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: visible_lines(value) if isinstance(value, str) else value,
        trim_blocks=False,
        keep_trailing_newline=True,
    )


def visible_lines(text: str) -> str:
    """Return text whose control and direction characters are shown as escapes, line ends aside."""
    return text if isinstance(text, Markup) else "\n".join(map(visible, text.split("\n")))


def _view(table: Table, shared: Sequence[str]) -> _View:
    models = len({row.model for row in table.rows}) > 1
    headings = [heading for heading in table.headings if heading.shown]
    groups: list[_HtmlGroup] = []
    begins = set()
    for index, heading in enumerate(headings):
        label = heading.group if heading.group != heading.label else ""
        if groups and groups[-1].label == label:
            groups[-1] = _HtmlGroup(label, groups[-1].span + 1)
        else:
            groups.append(_HtmlGroup(label, 1))
            begins.add(index)
    if not any(group.label for group in groups):
        groups, begins = [], set()
    texts = {heading.name for heading in headings for row in table.rows if is_text(row.cells.get(heading.name))}
    rows = []
    for row in table.rows:
        cells = [
            _cell(row.cells.get(heading.name), heading, first=index in begins, text=heading.name in texts)
            for index, heading in enumerate(headings)
        ]
        rows.append(_HtmlRow([row.label, *([row.model] * models)], list(row.marks), cells))
    labels = [
        _Label(_text(heading), " ".join(["first"] * (index in begins) + ["text"] * (heading.name in texts)))
        for index, heading in enumerate(headings)
    ]
    names = [table.names[0], *([table.names[1]] * models)]
    caption = [line for line in table.caption if line not in shared]
    return _View(table.title, names, groups, labels, rows, caption)


def _text(heading: Heading) -> str:
    arrow = {True: " ↑", False: " ↓", None: ""}[heading.higher_is_better]
    return f"{heading.label}{arrow}"


def _cell(cell: TableCell | None, heading: Heading, *, first: bool, text: bool) -> _Cell:
    cell = cell or TableCell()
    said = shown(cell, heading)
    css = ["first"] * first + ["text"] * text
    if cell.status:
        css.append("status")
    elif isinstance(cell.value, str):
        css += ["wide"] * (len(said) > LONG)
        return _Cell(said, "", " ".join(css))
    elif _BEST.search(cell.letters) or (cell.difference is not None and cell.difference.claimed):
        css.append("best")
    number, space, rest = said.partition(" " if cell.difference is not None else " ± ")
    return _Cell(number, space + rest, " ".join(css))
