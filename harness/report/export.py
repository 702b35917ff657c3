"""Tables for programs: CSV in long form, and JSON."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from harness.report.grid import visible
from harness.report.table import Heading, Table, TableRow, plain
from harness.store.files import dump

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

NUMBERS = (
    "value", "low", "high", "letters", "missing", "seeds", "status",
    "claimed", "p", "detectable", "prompts", "by_seed", "note",
)  # fmt: skip

#: What is said of the column that a number stands in.
ABOUT = ("dataset", "decoding", "metric", "statistic", "baseline")

#: The columns of ``leaderboard.csv``.
COLUMNS = (
    "table", "dataset", "decoding", "metric", "statistic", "baseline", "model", "row", "value", "lower", "upper",
    "seeds", "text", "marks", "letters", "missing", "status", "claimed", "p", "detectable", "prompts", "by_seed",
    "note", "column",
)  # fmt: skip

#: What makes a spreadsheet calculate, or hides that it does.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "'", "＝", "＋", "－", "＠")  # noqa: RUF001  # their wide forms


def csv_text(tables: Sequence[Table]) -> str:
    """Return all tables in tidy form: one line a number, one column for each thing that is said of it.

    A number stands under ``value``, a text under ``text``. What measures no answers has its own column's name as its
    metric, and no data set or decoding. A text that a spreadsheet might calculate has a ``'`` before it, and so has one
    that begins with ``'``: whoever reads the file takes the first one away.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for table in tables:
        for row in table.rows:
            for heading in table.headings:
                if heading.name in row.cells:
                    writer.writerow([field(value) for value in _line(table, row, heading)])
    return stream.getvalue()


def _line(table: Table, row: TableRow, heading: Heading) -> Iterator[object]:
    cell = plain(row.cells[heading.name], heading)
    value = cell.get("value", "")
    told = {
        **_about(heading), **cell, "table": table.name, "model": row.model, "row": row.label,
        "marks": ", ".join(row.marks), "column": heading.name, "lower": cell.get("low"), "upper": cell.get("high"),
        "value": "" if isinstance(value, str) else value, "text": value if isinstance(value, str) else "",
    }  # fmt: skip
    return (told.get(name) if told.get(name) is not None else "" for name in COLUMNS)


def _about(heading: Heading) -> dict[str, str]:
    """Return what a column measures: one name for each thing."""
    told = {name: getattr(heading, name) for name in ABOUT}
    return {**told, "metric": heading.metric or heading.name}


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
        **{name: said for name, said in _about(heading).items() if said},
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
