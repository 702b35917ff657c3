"""Markdown, LaTeX, CSV and JSON say the same, and no text in them becomes markup, a command or a formula."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from report.synthetic import GREEDY, METRICS, ROUGE_L, T1, Run

from harness.report import latex, markdown
from harness.report.differences import FEW_GROUPS, IDENTICAL, ONE_SEED, TWO_SEEDS, Difference
from harness.report.export import csv_text, json_text, json_value
from harness.report.grid import WIDTH, visible
from harness.report.results import load_results
from harness.report.statistics import Interval
from harness.report.table import Heading, Table, TableCell, TableRow, folded, shown
from harness.report.write import build

if TYPE_CHECKING:
    from collections.abc import Iterator

    from markdown_it.token import Token

    from harness.report.written import Leaderboard

ANY_TEXT = st.text(st.characters(codec=None, categories=None), max_size=12)
HOSTILE = st.text(st.sampled_from("ab_*`~<>|[]()!&#\\$%^{}:/@'\"=+-\n\t. 1;wé–"), max_size=14) | ANY_TEXT
NASTY = [
    '=HYPERLINK("http://x")', "@SUM(A1)", "+1", "-1+1", "\t=1", " =1", "'=1", "＝1", "a|b", "**bold**", "_it_",  # noqa: RUF001  # a wide sign
    "[x](javascript:alert(1))", "![x](y)", "<script>alert(1)</script>", "&lt;b&gt;", "&#60;", "https://example.org",
    "www.example.org", "a@example.org", "$x^2$", "~~gone~~", "`code`", "\\input{/etc/passwd}", "\\\\[2cm]", "[2cm]",
    "*x", "50%", "{", "}", "a_b", "#1", "--", "---", "line\nbreak", "\u202eabc", "\x1b[31m", "\ud800", "- [ ] x",
    "1. x",
]  # fmt: skip
HEADINGS = (Heading("score", "score", "in-data", 2, 100.0, True), Heading("note", "note"))  # a field


def small(*, label: str = "row", value: str = "text", mark: str = "", model: str = "tiny", caption: str = "c") -> Table:
    cells = {"score": TableCell(0.5, Interval(0.5, 0.4, 0.55), "ab"), "note": TableCell(value)}
    other = TableRow("other", "another", {"score": TableCell(status="failed")})
    row = TableRow(label, model, cells, (mark,) if mark else ())
    return Table("scores", "Scores", HEADINGS, (row, other), (caption,))


def inline(tokens: list[Token]) -> Iterator[list[Token]]:
    for token in tokens:
        if token.type == "inline":
            yield token.children or []


def parsed(text: str) -> list[str]:
    """Return the texts of all inline places, after checking that they hold nothing but text."""
    parser = MarkdownIt("commonmark", {"linkify": False}).enable(["table", "strikethrough"])
    found = []
    for children in inline(parser.parse(text)):
        assert {child.type for child in children} <= {"text", "text_special"}, text
        found.append("".join(child.content for child in children))
    return found


def one_line(text: str) -> str:
    return visible(re.sub(r"\s*\n\s*", " ", text.strip())).strip()


@given(text=HOSTILE)
def test_a_markdown_cell_reads_back_as_it_was(text: str) -> None:
    assume(one_line(text) != "another")  # the other row's value: a column that says the same in every row has no cells
    document = markdown.markdown("Title", [], [small(label=text, value=text, model=text)])
    texts = parsed(document)
    row = texts.index("50.00 ± 10.00 ab")
    label = " ".join(one_line(text).split(" "))
    assert [cell.strip() for cell in (texts[row - 2], texts[row - 1], texts[row + 1])] == [label] * 3


@pytest.mark.parametrize("text", NASTY)
def test_markdown_text_reads_back_as_it_was(text: str) -> None:
    document = markdown.markdown(text, [f"Note: {text}"], [small(caption=f"Caption: {text}")], [f"Ending: {text}"])
    texts = parsed(document)
    for prefix in ("Note", "Caption", "Ending"):
        assert one_line(f"{prefix}: {text}") in [found.strip() for found in texts]
    assert texts[0].strip() == one_line(text)


@given(text=HOSTILE)
def test_nothing_is_left_that_github_makes_a_link_or_a_formula(text: str) -> None:
    found = markdown.escaped(text)
    assert "://" not in found
    assert not re.search(r"(?<!\\)\$", found)
    assert not re.search(r"www\.", found)
    assert not re.search(r"(?<!\\)@\w", found)


def test_ordinary_names_stay_readable() -> None:
    for name in ("eso[coef=0.1]", "max_new_tokens", "generated-instructions/test", "ROUGE-L ↑", "27.9 ± 1.8 ab"):
        assert markdown.escaped(name, cell=True) == name


@given(text=HOSTILE)
def test_no_csv_field_is_a_formula_and_all_come_back(text: str) -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text([small(label=text, value=text, mark=text)]))))
    for field in (rows[0]["row"], rows[1]["text"]):
        assert not field.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
        assert field.removeprefix("'") == visible(text)


def test_numbers_are_numbers_in_csv() -> None:
    cells = {"score": TableCell(-0.5, Interval(-0.5, -0.6, -0.4))}
    rows = list(csv.DictReader(io.StringIO(csv_text([Table("t", "T", HEADINGS, (TableRow("r", "m", cells),))]))))
    assert (rows[0]["value"], rows[0]["lower"], rows[0]["upper"]) == ("-50.0", "-60.0", "-40.0")


def test_csv_has_a_column_for_each_thing_that_is_said_of_a_number(full: Leaderboard) -> None:
    lines = list(csv.DictReader(io.StringIO(csv_text(full.tables))))
    scores = [
        line for line in lines if line["table"] in {"scores", "cross-dataset"} and line["metric"] == "rouge.rougeL"
    ]
    places = {(line["dataset"], line["decoding"], line["statistic"], line["baseline"]) for line in scores}
    assert places == {
        (dataset, "t1", *about) for dataset in ("in-data", "shifted") for about in (("mean", ""), ("difference", "sft"))
    }
    assert len(scores) == 2 * 2 * 3  # data sets, the number and its difference, rows
    by_decoding = {line["decoding"] for line in lines if line["table"] == "decoding"}
    assert by_decoding == {"t1", "greedy"}
    assert {line["statistic"] for line in lines if line["table"] == "seeds"} <= {
        "mean",
        "sd",
        "seed 0",
        "seed 1",
        "seed 2",
    }
    for line in lines:
        assert line["metric"]
        float(line["value"] or "nan")  # a text never stands among the numbers
        assert not (line["value"] and line["text"])


@pytest.fixture
def full(run: Run) -> Leaderboard:
    """Return every table of a run with gaps of all kinds."""
    run.tables = ("scores", "cross-dataset", "fluency", "decoding", "timing", "signal")
    run.datasets = {"in-data": "in-data", "shifted": "cross"}
    run.decodings = {"t1": T1, "greedy": GREEDY}
    corpus = {**ROUGE_L, "name": "all", "label": "BLEU"}
    fluent = {**METRICS[0], "use": "distinct", "role": "fluency", "columns": [{**ROUGE_L, "higher_is_better": None}]}
    run.metrics = [{**METRICS[0], "corpus": [corpus]}, fluent]
    run.corpus = lambda place: None if place.seed == 1 else 0.25
    run.value = lambda place: None if place.row == "base" else 0.1 * (place.example + place.seed) / 3
    run.unfinished = {("eso", "train", "1"), ("eso", "distinct", "2")}
    run.manifest = {
        "published": "eso-coling-2025",
        "failures": [{"stage": "s", "message": "m", "because_of": None}],
    }
    return build(load_results(run.root, run.write()))


def _walk(value: Any) -> Iterator[Any]:
    yield value
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in parts:
        yield from _walk(part)


def test_json_has_neither_null_nor_nan(full: Leaderboard) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    found = json.loads(json_text(full.head, full.tables), parse_constant=refuse)
    assert all(value is not None for value in _walk(found))
    assert found == json_value(full.head, full.tables)
    assert found["seeds"] == [0, 1, 2]
    assert found["failures"] == [{"stage": "s", "message": "m"}]


def test_csv_and_json_hold_the_same_cells(full: Leaderboard) -> None:
    found = json.loads(json_text(full.head, full.tables))["tables"]
    rows = list(csv.DictReader(io.StringIO(csv_text(full.tables))))
    count = 0
    for row in rows:
        table = found[row["table"]]
        expected = next(r for r in table["rows"] if (r["label"], r["model"]) == (row["row"], row["model"]))
        assert row["marks"] == ", ".join(expected["marks"])
        cell = expected["cells"][row["column"]]
        count += 1
        told = (row["text"].removeprefix("'"), "") if isinstance(cell.get("value"), str) else ("", row["value"])
        assert (row["text"].removeprefix("'"), row["value"]) == told
        for name, key in {"value": "value", "lower": "low", "upper": "high"}.items():
            assert (row[name] or row["text"] * (name == "value")).removeprefix("'") == str(cell.get(key, ""))
        for name in ("letters", "missing", "seeds", "status"):
            assert row[name].removeprefix("'") == str(cell.get(name, ""))
        assert row["claimed"] == {None: "", True: "yes", False: "no"}[cell.get("claimed")]
        assert row["by_seed"].removeprefix("'") == " ".join(map(str, cell.get("by_seed", ())))
        for name in ("p", "detectable", "prompts", "note"):
            assert row[name] == str(cell.get(name, ""))
    assert count == sum(len(row["cells"]) for table in found.values() for row in table["rows"])


def test_every_form_shows_every_mark_and_status(full: Leaderboard) -> None:
    text = markdown.markdown(full.title, full.notes, full.tables, full.ending)
    forms = [text, latex.latex(full.tables), csv_text(full.tables), json_text(full.head, full.tables)]
    for form in forms:
        for word in ("failed for seed 1", "no value", "published"):
            assert word in form
    assert all("of 3 seeds" in form for form in forms[:2])


def test_a_table_without_rows_shows_its_headings() -> None:
    table = Table("timing", "Timing", (Heading("seconds_per_step", "seconds"),), ())
    text = markdown.markdown("A benchmark without a method", [], [table])
    assert re.search(r"^\| *method *\| *seconds *\|$", text, re.MULTILINE), text


def test_a_line_that_tables_share_is_printed_once(full: Leaderboard) -> None:
    text = markdown.markdown(full.title, full.notes, full.tables, full.ending)
    lines = [line for line in text.splitlines() if line.startswith("- ")]
    assert len(lines) == len(set(lines))
    for table in full.tables:
        for line in table.caption:
            assert f"- {markdown.escaped(line)}" in lines
    assert text.index("## At a glance") < text.index("## How to read the tables") < text.index("## Scores")


class TestCells:
    HEADING = Heading("x", "x", digits=1, scale=100.0)

    def test_show_the_further_end_of_a_leaning_interval(self) -> None:
        assert shown(TableCell(0.5, Interval(0.5, 0.45, 0.7)), self.HEADING) == "50.0 ± 20.0"
        assert shown(TableCell(0.5, Interval(0.5, 0.2, 0.55)), self.HEADING) == "50.0 ± 30.0"

    def test_show_what_there_is(self) -> None:
        assert shown(TableCell(), self.HEADING) == "–"
        assert shown(TableCell("text"), self.HEADING) == "text"
        assert shown(TableCell(status="failed"), self.HEADING) == "failed"
        assert shown(TableCell(0.5, Interval(0.5, math.nan, math.nan)), self.HEADING) == "50.0"
        assert shown(TableCell(0.5, None, "ab", seeds=2, of=3), self.HEADING) == "50.0 ab (2 of 3 seeds)"
        assert shown(TableCell(0.5, seeds=3, of=3), self.HEADING) == "50.0"

    @pytest.mark.parametrize(
        ("found", "expected"),
        [
            (Difference(0.02, -0.001, 0.041, seeds=3, claims=True), "+2.0 [-0.1, +4.1]"),
            (Difference(-0.02, -0.041, 0.001, seeds=3, claims=True), "-2.0 [-4.1, +0.1]"),
            (Difference(0.012, seeds=2, per_seed=(0.004, 0.02), note=TWO_SEEDS), "+1.2 (+0.4, +2.0)"),
            (Difference(0.012, 0.004, 0.02, seeds=1, note=ONE_SEED), "+1.2 [+0.4, +2.0] these runs"),
            (Difference(0.0, seeds=3, note=IDENTICAL), "+0.0 identical"),
            (Difference(0.1, seeds=3, note=FEW_GROUPS), "+10.0 few groups"),
        ],
    )
    def test_show_a_difference_with_both_ends(self, found: Difference, expected: str) -> None:
        cell = TableCell(found.estimate, found.interval, seeds=found.seeds, of=3, difference=found)
        assert shown(cell, self.HEADING) == expected

    def test_of_a_difference_are_in_every_form(self) -> None:
        found = Difference(0.02, 0.01, 0.04, 0.03, 3, 40, (0.01, 0.02, 0.03), claims=True, detectable=0.05)
        row = TableRow("r", "m", {"x": TableCell(found.estimate, found.interval, seeds=3, of=3, difference=found)})
        tables = [Table("t", "T", (self.HEADING,), (row,))]
        assert "+2.0 [+1.0, +4.0]" in markdown.markdown("T", [], tables)
        assert r"\bfseries +2.0 & {[}+1.0, +4.0{]} \\" in latex.latex(tables)
        told = json.loads(json_text({}, tables))["tables"]["t"]["rows"][0]["cells"]["x"]
        assert told == {
            "value": 2.0, "low": 1.0, "high": 4.0, "seeds": 3, "claimed": True, "prompts": 40, "p": 0.03,
            "detectable": 5.0, "by_seed": [1.0, 2.0, 3.0],
        }  # fmt: skip
        line = next(csv.DictReader(io.StringIO(csv_text(tables))))
        assert (line["lower"], line["upper"], line["claimed"], line["by_seed"]) == ("1.0", "4.0", "yes", "1.0 2.0 3.0")

    def test_the_same_in_every_row_stands_in_the_caption(self) -> None:
        headings = (Heading("n", "prompts", "in-data", 0, foldable=True), Heading("x", "x", digits=0))
        rows = [TableRow(name, "m", {"n": TableCell(12.0), "x": TableCell(1.0)}) for name in "ab"]
        table = folded(Table("t", "T", headings, tuple(rows), ("first",)))
        assert [heading.shown for heading in table.headings] == [False, True]
        assert table.caption == ("first", "The same in every row: in-data prompts 12.")
        rows[1] = TableRow("b", "m", {"n": TableCell(status="failed"), "x": TableCell(1.0)})
        assert folded(Table("t", "T", headings, tuple(rows))).headings[0].shown
        assert folded(Table("t", "T", headings, tuple(rows[:1]))).headings[0].shown


class TestWideTables:
    def wide(self, groups: int, columns: int) -> Table:
        headings = tuple(
            Heading(f"{group}/{column}", f"column {column}", f"set {group}")
            for group in range(groups)
            for column in range(columns)
        )
        headings = (*headings, Heading("seeds", "seeds"))
        cells = {heading.name: TableCell(1.0, Interval(1.0, 0.5, 1.5)) for heading in headings}
        return Table("t", "T", headings, (TableRow("row", "m", cells),), divided=True)

    def test_are_cut_by_group(self) -> None:
        text = markdown.markdown("T", [], [self.wide(3, 6)])
        assert [line for line in text.splitlines() if line.startswith("**")] == ["**set 0**", "**set 1**", "**set 2**"]
        rows = [line for line in text.splitlines() if line.startswith("|")]
        assert max(len(row) for row in rows) <= WIDTH
        assert [row.count("seeds") for row in rows if "method" in row] == [0, 0, 1]

    def test_stay_whole_where_they_fit(self) -> None:
        text = markdown.markdown("T", [], [self.wide(2, 2)])
        assert "set 0 column 1" in text
        assert "**set" not in text


def test_the_tables_of_a_small_run_read_like_this(run: Run) -> None:
    run.unfinished = {("eso", "generate", "2")}
    built = build(load_results(run.root, run.write()))
    text = markdown.markdown(built.title, built.notes, built.tables[:2], built.ending[:2])
    assert text == GOLDEN


GOLDEN = """\
# Small (quick)

tiny; trained on tales/train, 40 rows; seeds 0, 1, 2.

## At a glance: ROUGE-L

| method   |     in-data, T = 1 ↑ |   in-data, T = 1 Δ sft |   in-data, T = 1 tokens |   s/step |
|:---------|---------------------:|-----------------------:|------------------------:|---------:|
| eso      | 35.20 (2 of 3 seeds) |   +3.03 (+2.83, +3.23) |                     2.5 |    0.250 |
| sft      |                32.17 |               baseline |                     2.5 |    0.250 |
| base     |                 3.19 |                      – |                     2.5 |        – |

- Rows of every table in the order of their means on in-data, T = 1, model by model; the order is not a claim.
- The same in every row: in-data cut % 4.2.

## How to read the tables

- No claim: with 2 seeds no difference between rows is called one; that takes two rows with 3 seeds or more.
- Δ sft: the row minus sft, and in parentheses that of each seed.
- A row's own 95 % confidence interval (in leaderboard.csv and leaderboard.json) is for new seeds and new prompts. \
Whether rows differ is seen from the interval of their difference, \
and not from whether their own overlap.
- t1: temperature 1, 2 answers a prompt, at most 24 tokens.
- in-data: tales/test, 40 rows.
- Shown times 100: ROUGE-L.

## Scores

**in-data, T = 1**

| method   |            ROUGE-L ↑ |                Δ sft |   tokens |   seeds |
|:---------|---------------------:|---------------------:|---------:|--------:|
| eso      | 35.20 (2 of 3 seeds) | +3.03 (+2.83, +3.23) |      2.5 |       2 |
| sft      |                32.17 |             baseline |      2.5 |       3 |
| base     |                 3.19 |                    – |      2.5 |       3 |

- The same in every row: in-data prompts 12, in-data cut % 4.2, in-data empty % 0.0.

## What was run

- Every method was given one configuration.
- training rows: file, rows with sha256 2222222222222222.
"""
