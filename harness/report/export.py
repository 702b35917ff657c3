"""Tables for programs: CSV in long form, and JSON."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from harness.report.grid import visible
from harness.report.table import Heading, Table, TableRow, plain
from harness.store.files import dump

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NUMBERS = (
    "value", "low", "high", "letters", "missing", "seeds", "status",
    "claimed", "p", "detectable", "prompts", "by_seed", "note",
)  # fmt: skip

#: What makes a spreadsheet calculate, or hides that it does.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "'", "＝", "＋", "－", "＠")  # noqa: RUF001  # their wide forms


def csv_text(tables: Sequence[Table]) -> str:
    """Return all tables in long form: one line a number.

    A text that a spreadsheet might calculate has a ``'`` before it, and so has one that begins with ``'``: whoever
    reads the file takes the first one away.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["table", "model", "row", "marks", "group", "column", *NUMBERS])
    for table in tables:
        for row in table.rows:
            for heading in table.headings:
                if heading.name in row.cells:
                    cell = plain(row.cells[heading.name], heading)
                    place = [table.name, row.model, row.label, ", ".join(row.marks), heading.group, heading.name]
                    writer.writerow([field(value) for value in (*place, *(cell.get(name, "") for name in NUMBERS))])
    return stream.getvalue()


def json_value(head: Mapping[str, Any], tables: Sequence[Table]) -> dict[str, Any]:
    """Return all tables as JSON values; what is not known is absent."""
    value: dict[str, Any] = _present({**head, "tables": {table.name: _table(table) for table in tables}})
    return value


def json_text(head: Mapping[str, Any], tables: Sequence[Table]) -> str:
    """Return :func:`json_value` as text."""
    return dump(json_value(head, tables))


def _table(table: Table) -> dict[str, Any]:
    return {
        "title": table.title,
        "caption": list(table.caption),
        "columns": [_column(heading) for heading in table.headings],
        "rows": [_row(table, row) for row in table.rows],
    }


def _column(heading: Heading) -> dict[str, Any]:
    return {
        "name": heading.name,
        "label": heading.label,
        "group": heading.group,
        "higher_is_better": heading.higher_is_better,
    }


def _row(table: Table, row: TableRow) -> dict[str, Any]:
    cells = {h.name: plain(row.cells[h.name], h) for h in table.headings if h.name in row.cells}
    return {"label": row.label, "model": row.model, "marks": list(row.marks), "cells": cells}


def _present(value: Any) -> Any:
    """Leave out every key without a value."""
    if isinstance(value, dict):
        return {name: _present(part) for name, part in value.items() if part is not None}
    return [_present(part) for part in value] if isinstance(value, list) else value


def field(value: object) -> object:
    """Return a value as a CSV file holds it: nothing that a spreadsheet would calculate."""
    if isinstance(value, list):
        value = " ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, str):
        return value
    return visible(f"'{value}" if value.lstrip(" ").startswith(_FORMULA) else value)
