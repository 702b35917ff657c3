"""Tables as Markdown, CSV, JSON and LaTeX. Labels and texts come from files and plugins, so every form escapes them."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from harness.report.table import Table, plain, shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "–": "--", "×": r"$\times$", "−": "$-$",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", "≥": r"$\geq$", "≤": r"$\leq$",
}  # fmt: skip


def visible(text: str) -> str:
    """Return the text with control and direction characters shown as escapes."""
    return _CONTROL.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def markdown(title: str, notes: Sequence[str], tables: Sequence[Table]) -> str:
    """Return every table in GitHub's Markdown, wide ones cut by data set."""
    parts = [f"# {_md(title)}", *(_md(note) for note in notes)]
    for table in tables:
        parts.append(f"## {_md(table.title)}")
        parts += [_md_table(table, group) for group in _groups(table)]
        parts.append("\n".join(f"- {_md(line)}" for line in table.caption))
    return "\n\n".join(part for part in parts if part) + "\n"


def csv_text(tables: Sequence[Table]) -> str:
    """Return all tables in long form: one line a number, with a ``'`` before what a spreadsheet would calculate."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    names = ("value", "low", "high", "ties", "missing", "status")
    writer.writerow(["table", "model", "row", "marks", "group", "column", *names])
    for table in tables:
        for row in table.rows:
            for heading in table.headings:
                if heading.name in row.cells:
                    cell = plain(row.cells[heading.name], heading)
                    place = [table.name, row.model, row.label, " ".join(row.marks), heading.group, heading.name]
                    writer.writerow([_cell(value) for value in (*place, *(cell.get(name, "") for name in names))])
    return stream.getvalue()


def json_value(head: Mapping[str, Any], tables: Sequence[Table]) -> dict[str, Any]:
    """Return all tables as JSON values; what is not known is absent."""
    return {
        **head,
        "tables": {
            table.name: {
                "title": table.title,
                "caption": list(table.caption),
                "columns": [
                    {
                        "name": heading.name,
                        "label": heading.label,
                        "group": heading.group,
                        "higher_is_better": heading.higher_is_better,
                    }
                    for heading in table.headings
                ],
                "rows": [
                    {
                        "label": row.label,
                        "model": row.model,
                        "marks": list(row.marks),
                        "cells": {
                            heading.name: plain(row.cells[heading.name], heading)
                            for heading in table.headings
                            if heading.name in row.cells
                        },
                    }
                    for row in table.rows
                ],
            }
            for table in tables
        },
    }


def json_text(head: Mapping[str, Any], tables: Sequence[Table]) -> str:
    """Return :func:`json_value` as text."""
    return json.dumps(json_value(head, tables), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def latex(tables: Sequence[Table]) -> str:
    """Return one ``table`` environment a table and group, for booktabs."""
    return "\n".join(_tex_table(table, group) for table in tables for group in _groups(table))


def _groups(table: Table) -> list[list[int]]:
    """Cut a wide table into parts that fit a page: one a group, columns without a group in the last."""
    widths: dict[str, list[int]] = {}
    shown_columns = [index for index, heading in enumerate(table.headings) if heading.shown]
    for index in shown_columns:
        widths.setdefault(table.headings[index].group, []).append(index)
    if len(shown_columns) <= 12 or not table.divided:
        return [shown_columns]
    loose = widths.pop("", [])
    parts = list(widths.values())
    if not parts:
        return [loose]
    parts[-1] = parts[-1] + loose
    return parts


def _grid(table: Table, columns: Sequence[int]) -> tuple[list[str], list[list[str]]]:
    models = len({row.model for row in table.rows}) > 1
    headings = [table.headings[index] for index in columns]
    prefixed = not _only_group(table, columns)
    labels = ["model"] * models + ["method"]
    for heading in headings:
        arrow = {True: " ↑", False: " ↓", None: ""}[heading.higher_is_better]
        prefix = f"{heading.group} " if heading.group and prefixed else ""
        labels.append(f"{prefix}{heading.label}{arrow}")
    rows = []
    for row in table.rows:
        name = row.label + (f" ({', '.join(row.marks)})" if row.marks else "")
        cells = [shown(row.cells[h.name], h) if h.name in row.cells else "–" for h in headings]
        rows.append([*([row.model] * models), name, *cells])
    return labels, rows


def _only_group(table: Table, columns: Sequence[int]) -> str:
    groups = {table.headings[index].group for index in columns if table.headings[index].group}
    return next(iter(groups)) if table.divided and len(groups) == 1 else ""


def _md_table(table: Table, columns: Sequence[int]) -> str:
    labels, rows = _grid(table, columns)
    group = _only_group(table, columns)
    text = tabulate(
        [[_md(cell) for cell in row] for row in rows],
        headers=[_md(label) for label in labels],
        tablefmt="github",
        disable_numparse=True,
        colalign=["left", *["right"] * (len(labels) - 1)],
    )
    return f"**{_md(group)}**\n\n{text}" if group else text


def _tex_table(table: Table, columns: Sequence[int]) -> str:
    labels, rows = _grid(table, columns)
    group = _only_group(table, columns)
    body = [" & ".join(_tex(cell) for cell in row) + r" \\" for row in rows]
    caption = _tex(f"{table.title}{f', {group}' if group else ''}. " + " ".join(table.caption))
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\begin{{tabular}}{{l{'r' * (len(labels) - 1)}}}",
            r"\toprule",
            " & ".join(_tex(label) for label in labels) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            rf"\caption{{{caption}}}",
            r"\end{table}",
            "",
        ]
    )


def _md(text: str) -> str:
    text = re.sub(r"\s*\n\s*", " ", text)
    text = visible(text)
    return re.sub(r"([\\`*_{}\[\]<>|])", r"\\\1", text)


def _tex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in visible(text.replace("\n", " ")))


def _cell(value: object) -> object:
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return visible(value) if isinstance(value, str) else value
