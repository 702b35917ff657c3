"""The page over all results of a folder: a line a run, and what each says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from harness.errors import HarnessError
from harness.report.page.render import render
from harness.report.page.view import view
from harness.report.results import read_manifest
from harness.report.table import Heading, Table, TableCell, TableRow
from harness.store.files import replace_text

if TYPE_CHECKING:
    from pathlib import Path

    from harness.report.page.view import View

#: Its name, in a folder of results.
INDEX = "index.html"
#: Folders of results that hold no benchmark.
_OTHERS = {"store", "published"}

_HEADINGS = (
    Heading("title", "title"),
    Heading("models", "models"),
    Heading("rows", "rows", "", 0),
    Heading("data", "data"),
    Heading("seeds", "seeds", "", 0),
    Heading("verdict", "what it says"),
)


def known_runs(root: Path) -> list[Path]:
    """Return every run below a folder of results, as BENCHMARK/PROFILE."""
    return sorted(
        path.parent.relative_to(root)
        for path in root.glob("*/*/manifest.json")
        if path.parent.parent.name not in _OTHERS
    )


def write_index(root: Path) -> Path:
    """Write the page over all results below ``root``, and return its path.

    Raises:
        StorageError: nothing may be written there.
    """
    replace_text(root / INDEX, index(root))
    return root / INDEX


def index(root: Path) -> str:
    """Return the page over all results below ``root``: its runs, and those published there."""
    parts = [("runs", "Runs", root, ""), ("published", "Published", root / "published", "published/")]
    found = [_view(name, title, folder, before) for name, title, folder, before in parts]
    views = [each for each in found if each.rows]
    notes = [] if views else ["No run has left its results here."]
    return render("results.html", title="Results", notes=notes, views=views)


def _view(name: str, title: str, root: Path, before: str) -> View:
    rows, links = [], {}
    for run in known_runs(root):
        label = run.as_posix()
        rows.append(TableRow(label, "", _cells(root / run)))
        if (root / run / "leaderboard.html").is_file():
            links[label] = before + quote(f"{label}/leaderboard.html")
    return view(Table(name, title, _HEADINGS, tuple(rows), names=("run", "")), anchor=name, links=links)


def _cells(folder: Path) -> dict[str, TableCell]:
    try:
        manifest = read_manifest(folder)
    except HarnessError as error:
        return {"verdict": TableCell(status=f"manifest.json: {error.what}")}
    trained_on = next((data.label for data in manifest.datasets if data.role == "train"), "")
    data = dict.fromkeys([trained_on, *(data.label for data in manifest.datasets if data.role != "train")])
    rows = [row for row in manifest.rows if row.kind != "point"]
    cells = {
        "title": TableCell(manifest.title or manifest.benchmark),
        "models": TableCell(", ".join(dict.fromkeys(row.model for row in rows))),
        "rows": TableCell(float(len(rows))),
        "data": TableCell(", ".join(filter(None, data))),
        "seeds": TableCell(float(len(manifest.config.seeds))),
    }
    verdict = _verdict(folder)
    if manifest.failures:
        verdict = f"{len(manifest.failures)} stages failed. {verdict}".strip()
    return cells | ({"verdict": TableCell(verdict)} if verdict else {})


def _verdict(folder: Path) -> str:
    """Return what the tables of a run say in a sentence; nothing where they do not."""
    try:
        content: Any = json.loads((folder / "leaderboard.json").read_text(encoding="utf-8"))
        return " ".join(map(str, content.get("verdict", ())))
    except (OSError, ValueError, AttributeError, TypeError):
        return ""
