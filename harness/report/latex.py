"""Tables as LaTeX, for booktabs and siunitx, as wide as a column or a page. No label or text becomes a command."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from harness.errors import InputError, suggest
from harness.report.latex_fit import GAP, Notes, columns_of, groups_of, name_width, parts_of
from harness.report.latex_text import CHARACTER, breakable, escaped, lines_of, slug, width_of
from harness.report.markdown import shared_lines
from harness.report.table import folded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.report.latex_fit import Column, Part
    from harness.report.table import Heading, Table, TableRow

LayoutName: TypeAlias = Literal["paper", "long", "wide"]


class Layout(NamedTuple):
    """What a table has to fit."""

    width: float
    """Of a line, in points."""
    height: float
    """Of what a page holds, in points."""
    about: str


#: A column of a two-column paper, a page under each other, a page that is turned.
LAYOUTS: Final[dict[LayoutName, Layout]] = {
    "paper": Layout(219.0, 600.0, "a column of a paper that has two, 219 pt (3.03 in) wide"),
    "long": Layout(
        345.0, 520.0, "a page with one column, 345 pt (4.8 in) wide; what is longer than a page goes on over pages"
    ),
    "wide": Layout(550.0, 320.0, "a page that is turned, 550 pt (7.6 in) wide"),
}

#: Floats in a row that LaTeX is sure to find a place for, and what empties its queue of them.
_FLOATS, _FLUSH = 12, r"\clearpage"
#: Points from line to line.
_LINE: Final = 9.6

_PACKAGES: Final = {"paper": "", "long": r" \usepackage{longtable}", "wide": r" \usepackage{pdflscape}"}
#: What a table as a whole is told: no rule of the document that includes it reaches into its numbers.
_NUMBERS: Final = r"\sisetup{retain-explicit-plus, group-digits=none, detect-weight}"


class Selection(NamedTuple):
    """Which rows and columns are shown, and how many digits behind the point."""

    rows: tuple[str, ...] = ()
    """Labels, or patterns of them; all where empty."""
    columns: tuple[str, ...] = ()
    """Labels, names or metrics, or patterns of them; all where empty."""
    tables: tuple[str, ...] = ()
    digits: int | None = None


#: Everything, as it is.
_ALL: Final = Selection()


def latex(
    tables: Sequence[Table], *, layout: LayoutName = "long", prefix: str = "", selection: Selection = _ALL
) -> str:
    """Return every table, each in as many parts as its layout asks for.

    Args:
        tables: the tables.
        layout: what they have to fit.
        prefix: what their labels begin with, after ``tab:``.
        selection: which of them, and which of their rows and columns.

    Raises:
        InputError: nothing is selected.
    """
    tables = [folded(table) for table in selected(tables, selection)]
    common = shared_lines(tables)
    head = [
        rf"% \usepackage{{booktabs}} \usepackage{{siunitx}} \usepackage{{graphicx}}{_PACKAGES[layout]}",
        f"% For {LAYOUTS[layout].about}.",
        "% Names in other scripts than the Latin one need lualatex or xelatex, and a font that has them.",
        CHARACTER,
    ]
    blocks: list[str] = []
    for number, block in enumerate(part for table in tables for part in _Writer(table, layout, prefix, common).parts()):
        blocks += [f"{_FLUSH}\n"] * (number > 0 and number % _FLOATS == 0) + [block]
    if common:
        blocks.append(
            "\n".join([r"\par\medskip\noindent\textbf{How to read the tables.}", *map(breakable, common), ""])
        )
    return "\n".join([*head, "", *blocks])


def selected(tables: Sequence[Table], selection: Selection) -> list[Table]:
    """Return what of the tables is selected; a table of which nothing is left is left out.

    Raises:
        InputError: something that is asked for is in no table.
    """
    _known("--table", selection.tables, {table.name for table in tables})
    kept = [table for table in tables if not selection.tables or table.name in selection.tables]
    _known("--rows", selection.rows, {row.label for table in kept for row in table.rows})
    _known("--columns", selection.columns, {name for table in kept for h in table.headings for name in _names(h)})
    kept = [_selected(table, selection) for table in kept]
    return [table for table in kept if table.rows and any(h.shown for h in table.headings)] if any(selection) else kept


def _selected(table: Table, selection: Selection) -> Table:
    rows, headings = table.rows, table.headings
    if selection.rows:
        rows = tuple(row for row in rows if _matches([row.label], selection.rows))
    if selection.columns:
        headings = tuple(replace(h, shown=True) for h in headings if _matches(_names(h), selection.columns))
    if selection.digits is not None:
        headings = tuple(replace(h, digits=selection.digits if h.digits else 0) for h in headings)
    return replace(table, rows=rows, headings=headings)


def _names(heading: Heading) -> list[str]:
    """Return what a column may be asked for by."""
    return [name for name in dict.fromkeys((heading.label, heading.name, heading.metric, heading.dataset)) if name]


def _matches(names: Sequence[str], patterns: Sequence[str]) -> bool:
    return any(name == pattern or fnmatchcase(name, pattern) for name in names for pattern in patterns)


def _known(option: str, asked: Sequence[str], known: set[str]) -> None:
    for pattern in asked:
        if not _matches(sorted(known), [pattern]):
            raise InputError(
                f"{option} names what no table has", got=pattern, expected=", ".join(sorted(known)),
                did_you_mean=suggest(pattern, sorted(known)),
            )  # fmt: skip


class _Writer:
    """Writes one table."""

    def __init__(self, table: Table, layout: LayoutName, prefix: str, common: Sequence[str]) -> None:
        self.table, self.layout = table, layout
        self.room = LAYOUTS[layout].width
        self.notes = Notes()
        self.label = "-".join(filter(None, (slug(prefix) if prefix else "", slug(table.name))))
        self.names = [_Name(row, self.notes) for row in table.rows]
        self.models = len({row.model for row in table.rows}) > 1
        self.lines = [line for line in table.caption if line not in common]
        name_of = table.names[0]
        self.name_width, self.broken = name_width([*(name.plain for name in self.names), name_of], self.room)
        self.cut = parts_of(columns_of(table, self.room, self.notes), self.name_width, self.room)

    def parts(self) -> Iterator[str]:
        """Yield the table part after part, with its notes below the last one."""
        places = [(part, page) for part in self.cut for page in self._pages(part)]
        for number, (part, page) in enumerate(places):
            of = (number + 1, len(places))
            below = self._notes() if number + 1 == len(places) else []
            yield "\n".join([*self._environment(part, page, of, below), ""])

    def _environment(self, part: Part, page: range, of: tuple[int, int], below: list[str]) -> Iterator[str]:
        said = f" ({of[0]} of {of[1]})" if of[1] > 1 else ""
        caption = rf"\caption{{{breakable(self.table.title + said)}}}"
        label = rf"\label{{tab:{self.label}{f'-{of[0]}' if of[0] > 1 else ''}}}"
        names = rf">{{\raggedright\arraybackslash}}p{{{(self.name_width - GAP) / self.room:.3f}\linewidth}}"
        columns = (names if self.broken else "l") + "".join(column.letters for column in part.columns)
        body = [*self._head(part), *self._body(part, page), r"\bottomrule"]
        setting = rf"\footnotesize\setlength{{\tabcolsep}}{{{GAP / 2:g}pt}}{_NUMBERS}"
        if self.layout == "long" and self._height(part, page) > LAYOUTS["long"].height and part.width <= self.room:
            yield rf"\begingroup{setting}"
            yield rf"\begin{{longtable}}{{@{{}}{columns}@{{}}}}"
            yield rf"{caption}{label}\\"
            head = [*self._head(part)]
            yield from head
            yield r"\endfirsthead"
            yield from head
            yield r"\endhead"
            yield from body[len(head) :]
            yield r"\end{longtable}"
            yield r"\endgroup"
            yield from below
            return
        tight = part.width > self.room  # one column that is wider than the layout: it is made smaller
        yield from [r"\begin{landscape}"] * (self.layout == "wide")
        yield r"\begin{table}[!htbp]"
        yield rf"\centering{setting}"
        yield caption + label
        yield from [r"\resizebox{\linewidth}{!}{%"] * tight
        yield rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}"
        yield from body
        yield r"\end{tabular}" + "}" * tight
        fits = self._height(part, page) + self._said() <= LAYOUTS[self.layout].height
        yield from below if fits else []
        yield r"\end{table}"
        yield from [] if fits else below
        yield from [r"\end{landscape}"] * (self.layout == "wide")

    def _pages(self, part: Part) -> list[range]:
        """Return the rows that a page holds; a long table goes on by itself."""
        pages, start = [], 0
        if self.layout != "long" or part.width > self.room:
            for index in range(len(self.names)):
                if index > start and self._height(part, range(start, index + 1)) > LAYOUTS[self.layout].height:
                    pages.append(range(start, index))
                    start = index
        return [*pages, range(start, len(self.names))]

    def _height(self, part: Part, page: range) -> float:
        """Return about how high a part is without its notes, in points."""
        head = max((len(column.label) for column in part.columns), default=1)
        above = 6 + head + 2 * int(width_of(self.table.title) / self.room)
        models = {self.table.rows[index].model: 0 for index in page} if self.models else {}
        lines = above + sum(2 + int(width_of(model) / self.room) for model in models)
        return _LINE * (lines + sum(self._lines(part, index) for index in page))

    def _lines(self, part: Part, index: int) -> int:
        """Return about how many lines a row takes."""
        room = self.name_width - GAP
        name = 1 + int(1.1 * width_of(self.names[index].plain) / room) if self.broken else 1
        return max(name, *(column.lines(index) for column in part.columns))

    def _said(self) -> float:
        """Return about how high the notes are, in points."""
        return _LINE * sum(2 + int(width_of(line) / self.room) for line in (*self.lines, *self.notes.words))

    def _head(self, part: Part) -> Iterator[str]:
        yield r"\toprule"
        groups = groups_of(part.columns)
        if any(group and group != columns[0].heading.label for group, columns in groups):
            place, over, rules = 2, [""], []
            for group, columns in groups:
                spans, width = sum(column.spans for column in columns), sum(column.width for column in columns)
                over.append(rf"\multicolumn{{{spans}}}{{c}}{{{_stack(lines_of(group, width))}}}")
                rules += [rf"\cmidrule(lr){{{place}-{place + spans - 1}}}"] if group else []
                place += spans
            yield f"{' & '.join(over)} \\\\"
            yield "".join(rules)
        labels = (_label(column) for column in part.columns)
        yield rf"{' & '.join([escaped(self.table.names[0]), *labels])} \\"
        yield r"\midrule"

    def _body(self, part: Part, page: range) -> Iterator[str]:
        spans = 1 + sum(column.spans for column in part.columns)
        model = None
        for index in page:
            row = self.table.rows[index]
            if self.models and row.model != model:
                yield from [r"\addlinespace"] * (model is not None)
                model = row.model
                fits = width_of(model) < part.width
                how = "l" if fits else r"p{\dimexpr\linewidth-\tabcolsep\relax}"
                said = escaped(model) if fits else breakable(model)
                yield rf"\multicolumn{{{spans}}}{{@{{}}{how}}}{{\textit{{{said}}}}} \\"
            cells = [cell for column in part.columns for cell in _cells(column, index)]
            yield rf"{' & '.join([self.names[index].text(broken=self.broken), *cells])} \\"

    def _notes(self) -> list[str]:
        marked = [rf"\textsuperscript{{${mark}$}}~{breakable(text)}." for text, mark in self.notes.words.items()]
        if not marked and not self.lines:
            return []
        begin = r"\par\smallskip\noindent\begingroup\footnotesize\raggedright"
        return [begin, *marked, *map(breakable, self.lines), r"\par\endgroup"]


class _Name:
    """What a row is called, with marks for what is said of it."""

    def __init__(self, row: TableRow, notes: Notes) -> None:
        self.label = row.label
        marks = "".join(notes.mark(mark) for mark in row.marks)
        self.marks = rf"\textsuperscript{{{marks}}}" if marks else ""
        self.plain = row.label + "a" * len(row.marks)

    def text(self, *, broken: bool) -> str:
        """Return it as LaTeX."""
        return (breakable(self.label) if broken else escaped(self.label)) + self.marks


def _label(column: Column) -> str:
    text = _stack(column.label)
    if column.kind == "S" and not column.has_after:
        return f"{{{text}}}"
    return rf"\multicolumn{{{column.spans}}}{{{'l' if column.kind != 'S' else 'c'}}}{{{text}}}"


def _stack(lines: Sequence[str]) -> str:
    """Return the lines of a heading, one under the other."""
    if len(lines) == 1:
        return escaped(lines[0])
    under = r"\\".join(map(escaped, lines))
    return rf"\begin{{tabular}}[b]{{@{{}}c@{{}}}}{under}\end{{tabular}}"


def _cells(column: Column, index: int) -> list[str]:
    piece = column.pieces[index]
    return [piece.number, piece.after] if column.has_after else [piece.number]
