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

    @property
    def where(self) -> str:
        """Whose number it is, and where it stands."""
        return f"{self.row}, {self.place}" + (f": {self.setting}" if self.setting else "")

    @property
    def printed(self) -> str:
        """The number as text: it is compared with none."""
        return f"{self.value:g}"


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
    columns = dict.fromkeys(figure.column for figure in figures)
    headings = (*(Heading(column, column) for column in columns), Heading("note", "note"))
    cells: dict[str, dict[str, TableCell]] = {}
    for figure in figures:
        row = cells.setdefault(figure.where, {})
        row[figure.column] = TableCell(figure.printed)
        notes = [str(row["note"].value)] if "note" in row else []
        if figure.note:
            row["note"] = TableCell("; ".join([*notes, f"{figure.column}: {figure.note}"]))
    rows = tuple(TableRow(where, data["title"], found, ("published",)) for where, found in cells.items())
    return Table("published", f"Published figures: {data['title']}", headings, rows, tuple(data["notes"]))
