"""How to read a leaderboard: the worked example adds up, and every mark is one that tables make."""

from __future__ import annotations

import re
import statistics
from pathlib import Path

import pytest
from docs.pages import text_of

PAGE = text_of("reading-a-leaderboard.md")
HARNESS = Path(__file__).resolve().parents[2] / "harness"


def table(head: str) -> list[list[str]]:
    """Return the rows of the table whose first line begins so."""
    (found,) = re.findall(rf"^\| {head}.*\n\|[-:|]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in str(found).splitlines()]


def ends(cell: str) -> tuple[float, float, float]:
    estimate, low, high = map(float, re.findall(r"[-+]\d+\.\d+", cell))
    return estimate, low, high


def test_differences_are_those_of_the_scores() -> None:
    rows = {row[0]: row[1:] for row in table("method +\\| addition")}
    (wanted,) = re.findall(r"Greedy, above sft: (.*?)\. ", PAGE)
    claimed = set()
    for name in rows.keys() - {"sft", "base"}:
        for place in (0, 2):
            estimate, low, high = ends(rows[name][place + 1])
            assert estimate == pytest.approx(float(rows[name][place]) - float(rows["sft"][place]), abs=0.011)
            assert low < estimate < high
            if low > 0 or high < 0:
                claimed.add((name, place))
    assert claimed == {(name, 0) for name in wanted.split(", ")}


def test_seeds_make_their_mean_and_spread() -> None:
    rows = {row[0]: list(map(float, row[1:])) for row in table("method \\| mean")}
    for mean, spread, *seeds in rows.values():
        assert mean == pytest.approx(statistics.fmean(seeds), abs=0.01)
        assert spread == pytest.approx(statistics.stdev(seeds), abs=0.01)
    differences = [ours - theirs for ours, theirs in zip(rows["rloo"], rows["sft"], strict=True)]
    assert rows["difference"][2:] == pytest.approx(differences[2:], abs=0.006)


def test_every_mark_is_made_by_tables() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in sorted((HARNESS / "report").rglob("*.py")))
    marks = [mark for row in table("mark \\|") for mark in re.findall(r"`([^`]+)`", row[0])]
    assert len(marks) > 20
    numbers = {mark for mark in marks if re.search(r"\d", mark)}
    assert [mark for mark in marks if mark not in code and mark not in numbers | {"a", "ab"}] == []


def test_every_reason_for_a_missing_number_is_a_mark() -> None:
    from harness.report import absent, results

    reasons = {
        value for name, value in vars(results).items() if name in {"FAILED", "NOT_STORED", "NOT_EVALUATED", "NOT_RUN"}
    }
    assert reasons | {absent.NO_VALUE, results.NOT_SCORED} <= set(re.findall(r"`([^`]+)`", PAGE))
