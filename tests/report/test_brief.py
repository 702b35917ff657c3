"""A run in a few lines: the headline table is as wide as the terminal lets it, and no line of it is wider."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from report.synthetic import GREEDY, T1
from rich.cells import cell_len

from harness.report.brief import _head, brief, fitted
from harness.report.differences import TWO_SEEDS, Difference
from harness.report.statistics import Interval
from harness.report.table import Heading, Table, TableCell, TableRow
from harness.report.write import make_tables

if TYPE_CHECKING:
    from report.synthetic import Run

SETS = {"dolly": "in-data", "self-instruct-of-some-length": "cross", "vicuna": "cross"}


def table(*labels: str, names: tuple[str, ...] = ("eso", "sft"), models: tuple[str, ...] = ("m",)) -> Table:
    headings = tuple(Heading(label, label) for label in labels)
    cells = {label: TableCell(12.345 * (index + 1)) for index, label in enumerate(labels)}
    return Table("t", "T", headings, tuple(TableRow(name, model, cells) for model in models for name in names))


def wide(text: str) -> int:
    return max(map(cell_len, text.splitlines()))


def test_headings_are_broken_before_anything_is_left_out() -> None:
    one = table("generated", "generated-self-instruct", "held out prompts")
    assert fitted(one, 100).splitlines()[0] == "method  generated  generated-self-instruct  held out prompts"
    text = fitted(one, 45)
    assert text.splitlines() == [
        "                    generated-self-  held out",
        "method  generated          instruct   prompts",
        "eso         12.35             24.69     37.04",
        "sft         12.35             24.69     37.04",
    ]


@pytest.mark.parametrize("width", range(27, 120, 7))
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    names = ("a-method-with-quite-a-long-label", "方法方法方法方法方法", "sft")
    one = table("first", "second one", "third-with-hyphens", "fourth", names=names, models=("m", "another"))
    text = fitted(one, width)
    assert wide(text) <= width
    assert "12.35" in text


def test_what_there_is_no_room_for_is_named() -> None:
    text = fitted(table("aaaaaaaa", "bbbbbbbb", "cccccccc"), 26)
    assert "bbbbbbbb" in text.splitlines()[0]
    assert text.splitlines()[-1] == "No room for: cccccccc."


def test_a_terminal_that_shows_more_characters_for_one_is_reckoned_with() -> None:
    one = table("a", "b", names=("±" * 10, "sft"))
    assert wide(fitted(one, 40, lambda text: text.replace("±", "+/-"))) <= 40
    assert wide(fitted(one, 20, lambda text: text.replace("±", "+/-").replace("…", "..."))) <= 20


def test_control_characters_of_a_label_do_not_reach_the_terminal() -> None:
    assert "\x1b" not in fitted(table("a\x1b[2J", names=("e\x1b]0;x\x07so",)), 80)


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_a_run_at_several_widths(run: Run, width: int) -> None:
    run.datasets, run.decodings, run.rows = SETS, {"t1": T1, "greedy": GREEDY}, ("base", "sft", "eso", "drl", "rrhf")
    written = make_tables(run.root, run.write())
    text = brief(written, width)
    *above, tables, page = text.splitlines()
    assert wide("\n".join(above)) <= width
    assert (tables, page) == (
        f"tables: {written.folder / 'leaderboard.md'} (.csv, .json, .tex)",
        f"page: {written.folder / 'leaderboard.html'}",
    )
    assert {"base", "sft", "eso", "drl", "rrhf"} <= {line.split()[0] for line in above if line}
    if width == 100:
        assert len(above) <= 20
        assert "s/step" in text
    assert " ".join(written.document.verdict) in " ".join(text.split())


def test_failures_are_named_once_a_reason_and_not_where_they_were_told(run: Run) -> None:
    failures = [
        {"stage": "tiny/eso/seed 0", "message": "the loss was not finite\n  lower it", "because_of": None},
        {"stage": "tiny/eso/seed 0/t1", "message": "the loss was not finite", "because_of": "tiny/eso/seed 0"},
        {"stage": "tiny/eso/seed 1", "message": "the loss was not finite\n  lower it", "because_of": None},
    ]
    run.manifest = {"failures": failures}
    written = make_tables(run.root, run.write())
    assert brief(written, 100).count("the loss was not finite") == 1
    assert "failed: tiny/eso/seed 0: the loss was not finite\n  lower it\n" in brief(written, 100)
    assert "not finite" not in brief(written, 100, failures=False)


def test_a_run_for_its_timing_alone_shows_that(run: Run) -> None:
    run.metrics, run.datasets, run.decodings, run.tables = [], {}, {}, ("timing",)
    text = brief(make_tables(run.root, run.write()), 100)
    assert "s/step" in text
    assert "tables: " in text


@pytest.mark.parametrize(
    ("cell", "bare", "said"),
    [
        (TableCell(0.5, Interval(0.5, 0.4, 0.7)), False, "T, ± to the further end of a 95 % confidence interval."),
        (TableCell(0.5, Interval(0.5, 0.4, 0.7)), True, "T."),
        (
            TableCell(0.1, difference=Difference(0.1, -0.1, 0.3, seeds=3)),
            False,
            "T, in brackets a 95 % confidence interval of the difference.",
        ),
        (
            TableCell(0.1, difference=Difference(0.1, seeds=2, per_seed=(0.0, 0.2), note=TWO_SEEDS)),
            False,
            "T, in parentheses each seed's difference.",
        ),
    ],
)
def test_the_head_says_what_stands_beside_the_numbers_and_nothing_else(
    cell: TableCell, said: str, *, bare: bool
) -> None:
    hidden = Heading("hidden", "hidden", shown=False)
    plain = TableCell(0.5, Interval(0.5, 0.4, 0.7))
    row = TableRow("eso", "m", {"a": cell, "hidden": plain})
    assert _head(Table("t", "T", (Heading("a", "a", bare=bare), hidden), (row,))) == said
