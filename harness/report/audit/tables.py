"""The tables of a run made again from its records, number by number against those that lie beside them."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import TYPE_CHECKING, Any, Final

from harness.errors import HarnessError
from harness.report.audit.records import ROUNDING
from harness.report.by_prompt import scores_csv
from harness.report.calculated import Calculated
from harness.report.page.browser import FOLDER
from harness.report.results import load_results
from harness.report.write import beside_of, build, document_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from harness.report.audit.findings import Audit

#: How many differing numbers of one file are named.
_NAMED: Final = 10
#: Columns of the tables in CSV, and of the scores, that say which number it is.
_CELL: Final = ("table", "model", "row", "column")
_SCORE: Final = ("model", "row", "seed", "dataset", "decoding", "id")


def check_tables(root: Path, folder: Path, audit: Audit) -> None:
    """Calculate every table again, using nothing that was calculated before, and compare what lies in the folder."""
    try:
        results = load_results(root, folder)
        document = build(results, Calculated())
    except HarnessError as error:
        audit.add("differs", str(folder.name), f"its tables cannot be made: {error}")
        return
    answers = (folder / FOLDER).is_dir()
    beside = beside_of(results, cases="cases" in results.manifest.tables, answers=answers)
    derived = {**document_files(document, beside), "scores.csv": scores_csv(results)}
    there = [name for name in derived if (folder / name).is_file()]
    for name in there:
        try:
            told = (folder / name).read_text(encoding="utf-8")
            differing = list(_differing(name, told, derived[name], audit))
        except (OSError, ValueError) as error:
            audit.add("unread", name, str(error).splitlines()[0])
            continue
        for where, what in differing[:_NAMED]:
            audit.add("differs", where, what)
        if len(differing) > _NAMED:
            audit.add("differs", name, f"{len(differing) - _NAMED} more numbers differ")
    if "leaderboard.json" not in there:
        audit.skipped.append("no leaderboard.json lies beside the manifest: no table was compared")


def _differing(name: str, told: str, derived: str, audit: Audit) -> Iterator[tuple[str, str]]:
    if name == "leaderboard.json":
        yield from _json(json.loads(told), json.loads(derived), audit)
    elif name.endswith(".csv"):
        yield from _csv(name, told, derived, audit)
    elif told != derived:
        lines = zip([*told.splitlines(), ""], [*derived.splitlines(), ""], strict=False)
        number, first = next(((n, a) for n, (a, b) in enumerate(lines, 1) if a != b), (0, ""))
        yield f"{name}, line {number}", f"is not what the records give: {first[:80]!r}"


def _json(told: Mapping[str, Any], derived: Mapping[str, Any], audit: Audit) -> Iterator[tuple[str, str]]:
    """Yield each cell of the tables that differs, then what else does."""
    ours, theirs = _cells(told), _cells(derived)
    audit.figures += len(theirs)
    for place in dict.fromkeys([*ours, *theirs]):
        first, second = ours.get(place), theirs.get(place)
        if not _equal(first, second):
            yield f"leaderboard.json, {', '.join(place)}", f"{_short(first)}, derived {_short(second)}"
    for name in dict.fromkeys([*told, *derived]):
        if name != "tables" and not _equal(told.get(name), derived.get(name)):
            yield f"leaderboard.json, {name}", f"{_short(told.get(name))}, derived {_short(derived.get(name))}"


def _cells(board: Mapping[str, Any]) -> dict[tuple[str, ...], Any]:
    return {
        (f"table {table}", f"row {row['label']} ({row['model']})", str(column), str(part)): value
        for table, content in board.get("tables", {}).items()
        for row in content["rows"]
        for column, cell in row["cells"].items()
        for part, value in cell.items()
    }


def _csv(name: str, told: str, derived: str, audit: Audit) -> Iterator[tuple[str, str]]:
    keys = _SCORE if name == "scores.csv" else _CELL
    ours, theirs = (_lines(text, keys) for text in (told, derived))
    for place in dict.fromkeys([*ours, *theirs]):
        first, second = ours.get(place), theirs.get(place)
        if first is None or second is None:
            yield f"{name}, {', '.join(place)}", "is not there" if first is None else "has no record"
            continue
        for column in dict.fromkeys([*first, *second]):
            if column not in keys and not _same_text(first.get(column, ""), second.get(column, "")):
                where = f"{name}, {', '.join(place)}, {column}"
                yield where, f"{first.get(column, '')!r}, derived {second.get(column, '')!r}"
        audit.figures += len(second) - len(keys) if name == "scores.csv" else 0


def _lines(text: str, keys: tuple[str, ...]) -> dict[tuple[str, ...], dict[str, str]]:
    return {tuple(line.get(key) or "" for key in keys): line for line in csv.DictReader(io.StringIO(text))}


def _same_text(first: str, second: str) -> bool:
    if first == second:
        return True
    try:
        return _equal(float(first), float(second))
    except ValueError:
        return False


def _equal(first: Any, second: Any) -> bool:
    """Return whether two JSON values are the same, numbers to within rounding."""
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_equal(first[name], second[name]) for name in first)
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(_equal, first, second))
    numbers = (int, float)
    if isinstance(first, numbers) and isinstance(second, numbers) and not isinstance(first, bool):
        return math.isclose(first, second, rel_tol=ROUNDING, abs_tol=ROUNDING)
    return bool(first == second)


def _short(value: Any) -> str:
    text = "not there" if value is None else f"{value:.10g}" if isinstance(value, float) else repr(value)
    return text if len(text) <= _LONG else f"{text[: _LONG - 1]}…"


_LONG: Final = 100
