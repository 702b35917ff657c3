"""A run in a few lines for a terminal: its headline table, as wide as there is room, and what it says."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from harness.errors import reason
from harness.report.decodings import in_sentence
from harness.report.differences import TWO_SEEDS
from harness.report.findings import Contrast, View, verdict
from harness.report.grid import visible
from harness.report.scores import summary_columns
from harness.report.statistics import mean
from harness.report.table import folded, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from harness.report.columns import ComparedColumn, ComparedColumns
    from harness.report.results import ResultRow, Results
    from harness.report.table import Heading, Table, TableCell
    from harness.report.written import Written

#: Characters between two columns.
_GAP = 2
#: The least that is left of a row's name.
_NAME = 8


class _Column(NamedTuple):
    label: str
    cells: list[str]
    text: bool = False

    @property
    def least(self) -> int:
        """The width below which a cell or a word of the heading would be cut."""
        return max(map(cell_len, [*self.cells, *self.lines(1)]))

    def lines(self, width: int) -> list[str]:
        """Return the heading, broken where words and hyphens let it."""
        return textwrap.wrap(self.label, width, break_long_words=False) or [""]


def views(columns: ComparedColumns) -> list[View]:
    """Return what the verdict is made of: the columns of the headline table, model by model."""
    results = columns.results
    if not results.evaluated:
        return []
    return [_view(columns, column, model) for model in results.models for column in summary_columns(columns)]


def sentences(columns: ComparedColumns) -> list[str]:
    """Return the verdict of a run."""
    return verdict(views(columns), seeds=len(columns.results.seeds))


def _view(columns: ComparedColumns, column: ComparedColumn, model: str) -> View:
    results = columns.results
    rows = [row for row in results.rows if row.model == model]
    baseline = next((row for row in rows if row.label == results.baseline), None)
    if baseline is not None and columns.faulty(baseline, column.place):
        baseline = None
    compared = [row for row in rows if row.trained and row is not baseline and not columns.faulty(row, column.place)]
    contrasts = {row.label: _contrast(columns, column, row, baseline) for row in compared if baseline}
    return View(
        _where(column, results),
        [contrast for contrast in contrasts.values() if contrast],
        [row.label for row in rows if columns.mean(row, column.place) is None],
        can_claim=column.comparisons[model].claims,
        lower_is_better=column.heading.higher_is_better is False,
        digits=column.heading.digits,
        model=model if len(results.models) > 1 else "",
    )


def _contrast(columns: ComparedColumns, column: ComparedColumn, row: ResultRow, baseline: ResultRow) -> Contrast | None:
    place = column.place
    cells = [each.cells.get((place.dataset, place.decoding)) for each in (row, baseline)]
    ours, theirs = (cell.matrix(place.metric, place.column, columns.results.seeds) if cell else None for cell in cells)
    estimate = None if ours is None or theirs is None else mean(ours - theirs)
    if estimate is None:
        return None
    difference, scale = column.comparisons[row.model].of(row.label, baseline.label), column.heading.scale
    if difference is None or not difference.claims:
        if difference is not None and not math.isnan(difference.estimate):
            estimate = difference.estimate  # of the prompts that both rows have complete, as the table has it
        return Contrast(row.label, baseline.label, estimate * scale, claimed=False)
    ends = difference.low * scale, difference.high * scale
    return Contrast(row.label, baseline.label, difference.estimate * scale, *ends, claimed=difference.claimed)


def _where(column: ComparedColumn, results: Results) -> str:
    """Name a column in a sentence; with the decoding, where its data set has several."""
    dataset, decoding = column.place.dataset, column.place.decoding
    decodings = results.manifest.decodings
    if len(decodings) == 1 or dataset != (results.datasets("in-data") or results.datasets("cross"))[0]:
        return dataset
    return f"{dataset} {in_sentence(decodings, decoding)}"


def fitted(table: Table, width: int, show: Callable[[str], str] = str) -> str:
    """Return the table in at most ``width`` characters, with a line that names the columns there was no room for.

    Args:
        table: the table; its first column of numbers is always shown.
        width: of the terminal.
        show: what the terminal makes of a text; it may be longer.
    """
    lead, columns = _columns(folded(table), show)
    kept = list(columns)
    while len(kept) > 1 and _needed([*lead, *kept]) > width:
        kept.pop()
    for index in reversed(range(len(lead))):  # names give way in the end
        over = _needed([*lead, *kept]) - width
        if over > 0:
            least = max(_NAME, lead[index].least - over)
            lead[index] = lead[index]._replace(cells=[_cut(cell, least, show) for cell in lead[index].cells])
    text = _drawn([*lead, *kept], width)
    gone = [column.label for column in columns[len(kept) :]]
    if gone:
        note = show(f"No room for: {', '.join(gone)}.")
        text += "\n" + textwrap.fill(note, width, break_long_words=False)
    return text


def _columns(table: Table, show: Callable[[str], str]) -> tuple[list[_Column], list[_Column]]:
    """Return the columns that name a row, and those with its numbers."""
    several = len({row.model for row in table.rows}) > 1
    names = [row.label + (f" ({', '.join(row.marks)})" if row.marks else "") for row in table.rows]
    lead = [_Column(table.names[1], [show(visible(row.model)) for row in table.rows], text=True)] * several
    lead.append(_Column(table.names[0], [show(visible(name)) for name in names], text=True))
    headings = [heading for heading in table.headings if heading.shown]
    labels = [heading.label for heading in headings]
    columns = [
        _Column(
            show(visible(_label(heading, labels))),
            [show(visible(_shown(row.cells.get(heading.name), heading))) for row in table.rows],
        )
        for heading in headings
    ]
    return lead, columns


def _shown(cell: TableCell | None, heading: Heading) -> str:
    return "–" if cell is None else shown(cell, heading)


def _label(heading: Heading, labels: Sequence[str]) -> str:
    prefix = f"{heading.group} " if heading.group and labels.count(heading.label) > 1 else ""
    return f"{prefix}{heading.label}"


def _needed(columns: Sequence[_Column]) -> int:
    return sum(column.least + _GAP for column in columns) - _GAP


def _cut(text: str, width: int, show: Callable[[str], str]) -> str:
    dots = show("…")
    return text if cell_len(text) <= width else set_cell_size(text, max(0, width - cell_len(dots))) + dots


def _drawn(columns: Sequence[_Column], width: int) -> str:
    """Return the table; what room is left makes the tallest headings lower."""
    widths = [column.least for column in columns]
    room = width - _needed(columns)
    while room > 0:
        tallest = max(range(len(columns)), key=lambda index: len(columns[index].lines(widths[index])))
        if len(columns[tallest].lines(widths[tallest])) == 1:
            break
        widths[tallest] += 1
        room -= 1
    table = RichTable(box=None, padding=(0, _GAP, 0, 0), pad_edge=False)
    for column, size in zip(columns, widths, strict=True):
        heading = Text("\n".join(column.lines(size)))
        table.add_column(
            heading, width=size, no_wrap=True, justify="left" if column.text else "right", vertical="bottom"
        )
    for cells in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*map(Text, cells))
    console = Console(width=max(width, sum(widths) + _GAP * len(widths)), color_system=None, force_terminal=False)
    with console.capture() as drawn:
        console.print(table)
    return "\n".join(line.rstrip() for line in drawn.get().splitlines())


def brief(
    written: Written,
    width: int,
    show: Callable[[str], str] = str,
    *,
    heard: Collection[str] = (),
    failures: bool = True,
) -> str:
    """Return what is printed of a run: the headline table, the verdict, warnings and failures, where the rest lies.

    Args:
        written: the run.
        width: of the terminal; only paths and messages may be longer than it.
        show: what the terminal makes of a text.
        heard: warnings that the reader was told before.
        failures: whether failures are named; not, where the reader was told.
    """
    document, folder = written.document, written.folder
    blocks = []
    if document.tables:
        first = document.tables[0]
        blocks += [_filled(f"{document.title}: {_head(first)}", width, show), fitted(first, width, show)]
    if document.verdict:
        blocks.append(_filled(" ".join(document.verdict), width, show))
    warned = written.results.warnings.items()
    told = [f"warning: {', '.join(rows)}: {text}" for text, rows in warned if text not in heard]
    told = [*(f"error: {text}" for text in document.errors), *document.findings, *told]
    if failures:
        first_causes = [f for f in document.head["failures"] if not f["because_of"]]
        reasons = {reason(f.get("message", "")): f for f in reversed(first_causes)}
        told += [f"failed: {first['stage']}: {first.get('message', '')}" for first in reversed(reasons.values())]
    if told:
        blocks.append("\n".join(_lines(text, show) for text in told))
    places = (f"tables: {folder / 'leaderboard.md'} (.csv, .json, .tex)", f"page: {folder / 'leaderboard.html'}")
    return "\n\n".join([*blocks, "\n".join(_lines(place, show) for place in places)])


def _lines(text: str, show: Callable[[str], str]) -> str:
    return "\n".join(show(visible(line)) for line in text.splitlines())


def _head(table: Table) -> str:
    """Say what the numbers of a table are: its title, which way is better, and what is beside them."""
    better = {h.higher_is_better for h in table.headings if h.shown} - {None}
    said = [table.title.removeprefix("At a glance: ")]
    if len(better) == 1:
        said.append("higher is better" if True in better else "lower is better")
    cells = [(row.cells[h.name], h) for row in table.rows for h in table.headings if h.shown and h.name in row.cells]
    own = [cell.interval for cell, heading in cells if cell.difference is None and not heading.bare]
    if any(interval is not None and interval.known for interval in own):
        said.append("± to the further end of a 95 % confidence interval")
    differences = [cell.difference for cell, _ in cells if cell.difference is not None]
    if any(difference.known for difference in differences):
        said.append("in brackets a 95 % confidence interval of the difference")
    if any(difference.note == TWO_SEEDS for difference in differences):
        said.append("in parentheses each seed's difference")
    return ", ".join(said) + "."


def _filled(text: str, width: int, show: Callable[[str], str]) -> str:
    return textwrap.fill(show(visible(text)), width, break_long_words=False, break_on_hyphens=False)
