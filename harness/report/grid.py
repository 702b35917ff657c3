"""A table as rows of text, in parts that fit a page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from harness.report.table import Table, TableCell, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Characters that a part may be wide before it is cut.
WIDTH = 160
#: Characters from which a text is broken where a form can break it.
LONG = 40

_CONTROL = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028\u2029\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


class TablePart(NamedTuple):
    """A table, or as much of it as fits."""

    group: str
    """What all its columns share, if it was cut."""
    labels: list[str]
    rows: list[list[str]]
    columns: str
    """A letter for each column: ``r`` for numbers, ``l`` for texts, ``p`` for texts that need to be broken."""


def visible(text: str) -> str:
    """Return the text with control and direction characters, and what no file can hold, shown as escapes."""
    return _CONTROL.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def parts(table: Table) -> list[TablePart]:
    """Cut a table that is too wide and may be divided: one part a group, columns without a group in the last."""
    columns = [index for index, heading in enumerate(table.headings) if heading.shown]
    whole = _part(table, columns, "")
    groups: dict[str, list[int]] = {}
    for index in columns:
        groups.setdefault(table.headings[index].group, []).append(index)
    loose = groups.pop("", [])
    if not table.divided or len(groups) < 2 or _width(whole) <= WIDTH:
        only = next(iter(groups)) if len(groups) == 1 and table.divided else ""
        return [_part(table, columns, only)]
    cut = [_part(table, indices, group) for group, indices in groups.items()]
    cut[-1] = _part(table, [*groups[cut[-1].group], *loose], cut[-1].group)
    return cut


def _width(part: TablePart) -> int:
    return sum(max(len(cell) for cell in column) + 3 for column in zip(part.labels, *part.rows, strict=True)) + 1


def _part(table: Table, columns: Sequence[int], group: str) -> TablePart:
    models = len({row.model for row in table.rows}) > 1
    headings = [table.headings[index] for index in columns]
    labels = [table.names[1]] * models + [table.names[0]]
    for heading in headings:
        arrow = {True: " ↑", False: " ↓", None: ""}[heading.higher_is_better]
        prefix = f"{heading.group} " if heading.group not in {"", group, heading.label} else ""
        labels.append(f"{prefix}{heading.label}{arrow}".strip())
    rows = []
    for row in table.rows:
        name = row.label + (f" ({', '.join(row.marks)})" if row.marks else "")
        cells = [shown(row.cells[h.name], h) if h.name in row.cells else "–" for h in headings]
        rows.append([*([row.model] * models), name, *cells])
    letters = [_letter(row.cells.get(heading.name) for row in table.rows) for heading in headings]
    return TablePart(group, labels, rows, "l" * (1 + models) + "".join(letters))


def is_text(cell: TableCell | None) -> bool:
    """Return whether a cell holds words and no number."""
    return cell is not None and not cell.status and isinstance(cell.value, str)


def _letter(cells: Iterable[TableCell | None]) -> str:
    texts = [str(cell.value) for cell in cells if cell is not None and is_text(cell)]
    if not texts:
        return "r"
    return "p" if max(map(len, texts)) > LONG else "l"
