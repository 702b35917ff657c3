"""Figures that papers printed, as data with their places; shown beside measured ones and never compared with them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources

from harness.errors import InputError, suggest
from harness.report.table import Heading, Table, TableCell, TableRow


@dataclass(frozen=True)
class Figure:
    """One printed number."""

    place: str
    """Table or section."""
    setting: str
    row: str
    column: str
    value: float
    note: str = ""


def published_table(name: str) -> Table:
    """Return the printed figures of one paper as a table of their own: they enter no ranking, interval or tie group."""
    known = sorted(
        path.name.removesuffix(".json")
        for path in resources.files("harness.report").joinpath("figures").iterdir()
        if path.name.endswith(".json")
    )
    if name not in known:
        raise InputError(
            "no published figures of this name", where="published", got=name, expected=", ".join(known),
            did_you_mean=suggest(name, known),
        )  # fmt: skip
    text = resources.files("harness.report").joinpath("figures", f"{name}.json").read_text(encoding="utf-8")
    data = json.loads(text)
    figures = [Figure(**figure) for figure in data["figures"]]
    headings = (
        Heading("place", "place"),
        Heading("column", "figure"),
        Heading("value", "value"),
        Heading("note", "note"),
    )
    rows = tuple(
        TableRow(
            f"{figure.row}, {figure.setting}" if figure.setting else figure.row,
            data["title"],
            {
                "place": TableCell(figure.place),
                "column": TableCell(figure.column),
                "value": TableCell(f"{figure.value:g}"),
                "note": TableCell(figure.note or None),
            },
            ("published",),
        )
        for figure in figures
    )
    return Table("published", f"Published figures: {data['title']}", headings, rows, tuple(data["notes"]))
