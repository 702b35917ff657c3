"""LaTeX: what it sets is the text as it was, and it fits the layout that was asked for, as a real TeX finds."""

from __future__ import annotations

import json
import math
import random
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from report.test_forms import HOSTILE, NASTY, one_line, small

from harness.errors import InputError
from harness.report.differences import Difference
from harness.report.latex import LAYOUTS, LayoutName, Selection, latex
from harness.report.latex_text import breakable, escaped, width_of
from harness.report.statistics import Interval
from harness.report.table import Heading, Table, TableCell, TableRow

if TYPE_CHECKING:
    from collections.abc import Iterator

TEX = shutil.which("pdflatex")
PUBLISHED = Path(__file__).parents[2] / "results" / "published"
SIZES = {
    "paper": r"\documentclass[10pt,twocolumn]{article}\usepackage[textwidth=455pt,textheight=700pt]{geometry}"
    r"\setlength{\columnsep}{17pt}",
    "long": r"\documentclass[10pt]{article}\usepackage[textwidth=345pt,textheight=600pt]{geometry}"
    r"\usepackage{longtable}",
    "wide": r"\documentclass[10pt]{article}\usepackage[textwidth=345pt,textheight=550pt]{geometry}"
    r"\usepackage{pdflscape}",
}


def reads(text: str) -> str:
    """Return what LaTeX sets, by its rules; raise where a character would be a command or a mistake."""
    words = {
        r"\textbackslash{}": "\\", r"\&": "&", r"\%": "%", r"\$": "$", r"\#": "#", r"\_": "_", r"\{": "{", r"\}": "}",
        r"\textasciitilde{}": "~", r"\textasciicircum{}": "^", r"\textless{}": "<", r"\textgreater{}": ">",
        r"\textbar{}": "|", r"\textasciigrave{}": "`", r"\textquotesingle{}": "'", r"{\ttfamily\char34}": '"',
        "{[}": "[", "{]}": "]", "{*}": "*", r"$\pm$": "±", r"$\times$": "×", "$-$": "−", r"$\uparrow$": "↑",  # a sign
        r"$\downarrow$": "↓", r"$\geq$": "≥", r"$\leq$": "≤", r"$\div$": "÷", "{}": "", r"\textendash{}": "–",
        r"\textemdash{}": "—", r"$\rightarrow$": "→", r"$\approx$": "≈", r"$\frac{1}{2}$": "½", r"$\Delta$": "Δ",
        r"$^2$": "²", r"\textperiodcentered{}": "·", r"\ldots{}": "…", r"\textquoteright{}": "\u2019",
        r"\textquoteleft{}": "\u2018", r"\textquotedblleft{}": "\u201c", r"\textquotedblright{}": "\u201d",
        r"\dag{}": "†", r"\ddag{}": "‡", r"\S{}": "§", r"$\surd$": "√", r"\penalty500{}": "", "~": "\u00a0",
        **{rf"$\{name}$": chr(code) for name, code in GREEK.items()},
    }  # fmt: skip
    found = ""
    while text:
        other = re.match(r"\\othercharacter\{([0-9A-F]{4,6})\}\{(.)\}", text, re.DOTALL)
        if other is not None:
            assert chr(int(other[1], 16)) == other[2]
            found, text = found + other[2], text[other.end() :]
            continue
        word = next((word for word in words if text.startswith(word)), None)
        if word is None:
            assert text[0] not in "\\{}$&#^_%~[]*<>|`'\"", text
            word = text[0]
        found += words.get(word, word)
        text = text[len(word) :]
    return found


GREEK = {
    "alpha": 0x3B1, "beta": 0x3B2, "gamma": 0x3B3, "lambda": 0x3BB, "mu": 0x3BC, "pi": 0x3C0, "sigma": 0x3C3,
    "tau": 0x3C4,
}  # fmt: skip


@given(text=HOSTILE)
def test_a_text_is_set_as_it_was(text: str) -> None:
    assert reads(escaped(text)).strip() == one_line(text)
    assert reads(breakable(text * 3)).split() == one_line(text * 3).split()


@pytest.mark.parametrize("text", NASTY)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_have_their_cells_and_no_other_command(text: str, layout: LayoutName) -> None:
    found = latex([small(label=text, value=text, caption=text)], layout=layout)
    assert found.count(r"\begin{table}") == found.count(r"\end{table}") > 0
    body = found.rpartition(r"\midrule")[2].partition(r"\bottomrule")[0].strip().splitlines()
    rows = [line for line in body if "&" in re.sub(r"\\&", "", line)]
    assert len(rows) == 2
    assert len({len(re.split(r"(?<!\\)&", row)) for row in rows}) == 1
    assert all(row.endswith(r" \\") for row in rows)
    assert not re.search(r"\\(input|include|write|def|catcode)\b", found)
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", found.replace("\\\\", "")):
        depth += 1 if brace == "{" else -1
        assert depth >= 0
    assert depth == 0


def table(headings: tuple[Heading, ...], *rows: dict[str, TableCell], **more: Any) -> Table:
    listed = tuple(TableRow(f"row {index}", "m", cells) for index, cells in enumerate(rows))
    return Table("scores", "Scores", headings, listed, **more)


class TestNumbers:
    X = Heading("x", "x", digits=1, scale=100.0)

    def test_are_aligned_and_what_follows_them_is_not_part_of_them(self) -> None:
        difference = Difference(-0.02, -0.05, 0.01, 0.3, 3, 40, (-0.02,) * 3, claims=True)
        found = latex([
            table(
                (self.X, Heading("d", "d", digits=1, scale=100.0, statistic="difference")),
                {"x": TableCell(0.5, Interval(0.5, 0.4, 0.55), "ab"), "d": TableCell(status="baseline")},
                {"x": TableCell(1.25, None, "b"), "d": TableCell(-0.02, difference.interval, difference=difference)},
            )
        ])  # fmt: skip
        assert r"S[table-format=3.1]@{\,}lS[table-format=+1.1]@{\,}l" in found
        assert r"row 0 & \bfseries 50.0 & \textsuperscript{ab} $\pm$ 10.0 & {baseline} &  \\" in found
        assert r"row 1 & 125.0 & \textsuperscript{b} & -2.0 & {[}$-$5.0, +1.0{]} \\" in found
        assert found.count(r"\label{tab:scores}") == 1

    def test_are_bold_only_where_not_all_share_a_letter(self) -> None:
        alike = [{"x": TableCell(0.5, None, letters)} for letters in ("a", "a", "ab")]
        assert "bfseries" not in latex([table((self.X,), *alike)])
        apart = latex([table((self.X,), *alike, {"x": TableCell(0.1, None, "b")})])
        assert apart.count("bfseries") == 3

    def test_words_about_them_are_notes(self) -> None:
        cells = [
            {"x": TableCell(0.5, seeds=2, of=3)},
            {"x": TableCell(0.5, fault="error: the seeds do not vary")},
            {"x": TableCell(status="not evaluated")},
        ]
        found = latex([table((self.X,), *cells)])
        for mark, words in {
            r"\dag": "2 of 3 seeds",
            r"\ddag": "error: the seeds do not vary",
            r"\S": "not evaluated",
        }.items():
            assert found.count(words) == 1
            assert rf"\textsuperscript{{${mark}$}}~{words}." in found
            assert rf"\textsuperscript{{${mark}$}} \\" in found

    def test_have_the_digits_that_are_asked_for(self) -> None:
        headings = (self.X, Heading("n", "n", digits=0))
        found = latex([table(headings, {"x": TableCell(0.51239), "n": TableCell(12.0)})], selection=Selection(digits=3))
        assert r"row 0 & 51.239 & 12 \\" in found


class TestSelection:
    TABLES = (
        table(
            (
                Heading("x", "ROUGE-L", metric="rouge.rougeL"),
                Heading("x Δ", "Δ", metric="rouge.rougeL"),
                Heading("y", "y"),
            ),
            {"x": TableCell(1.0), "x Δ": TableCell(2.0), "y": TableCell(3.0)},
            {"x": TableCell(4.0)},
        ),
    )

    def test_takes_labels_metrics_and_patterns(self) -> None:
        one = latex(self.TABLES, selection=Selection(rows=("row 1",)))
        assert "row 0" not in one
        columns = latex(self.TABLES, selection=Selection(columns=("rouge.*",)))
        assert r"row 0 & 1.00 & 2.00 \\" in columns
        assert latex(self.TABLES, selection=Selection(columns=("y",))).count(" & ") == 3

    def test_of_what_is_nowhere_is_an_error(self) -> None:
        for selection in (Selection(rows=("row 7",)), Selection(columns=("ROUGE-1",)), Selection(tables=("scoers",))):
            with pytest.raises(InputError, match="names what no table has"):
                latex(self.TABLES, selection=selection)


def wide(groups: int, columns: int, rows: int, models: int = 2) -> Table:
    headings = tuple(
        heading
        for group in range(groups)
        for column in range(columns)
        for heading in (
            Heading(f"{group}/{column}", f"quite a long name {column}", f"data set {group}, T = 1", 2, 100.0, True),
            Heading(f"{group}/{column} Δ", "Δ baseline", f"data set {group}, T = 1", statistic="difference"),
        )
    )
    difference = Difference(-1.25, -11.5, 10.25, seeds=3, claims=True)
    cells = {
        h.name: TableCell(-1.25, difference.interval, seeds=2, of=3, difference=difference)
        if h.statistic
        else TableCell(0.51, Interval(0.51, 0.4, 0.55), "abc")
        for h in headings
    }
    said = tuple(Heading(f"t{n}", "what is said") for n in range(2))
    cells |= {h.name: TableCell("words that are " * 9 + "an-unbroken-path/" * 6) for h in said}
    listed = tuple(
        TableRow(f"a-method-with-a-long-name[coef=0.1,k={row}]", f"model {model} " + "x" * 60, cells, ("inactive",))
        for model in range(models)
        for row in range(rows)
    )
    caption = ("A sentence that explains it all. " * 8, "sha256 " + "0123456789abcdef" * 4)
    return Table("wide", "A wide table " + "with/a/path" * 8, (*headings, *said), listed, caption)


def published() -> Iterator[Table]:
    """Yield every published table, as its JSON has it."""
    for file in sorted(PUBLISHED.glob("*/*/leaderboard.json")):
        for name, told in json.loads(file.read_text(encoding="utf-8"))["tables"].items():
            headings = tuple(
                Heading(c["name"], c["label"], c["group"], higher_is_better=c.get("higher_is_better"))
                for c in told["columns"]
            )
            rows = tuple(
                TableRow(
                    row["label"],
                    row["model"],
                    {column: _cell(cell) for column, cell in row["cells"].items()},
                    tuple(row["marks"]),
                )
                for row in told["rows"]
            )
            yield Table(f"{file.parent.parent.name}-{name}", told["title"], headings, rows, tuple(told["caption"]))


def _cell(told: dict[str, Any]) -> TableCell:
    interval = Interval(told["value"], told["low"], told["high"]) if "low" in told else None
    difference = None
    if "claimed" in told:
        low, high = (told.get(end, math.nan) for end in ("low", "high"))
        difference = Difference(told["value"], low, high, claims=told["claimed"], note=told.get("note", ""))
    return TableCell(
        told.get("value"), interval, told.get("letters", told.get("ties", "")), status=told.get("status", ""),
        seeds=told.get("seeds", 0), of=3, difference=difference,
    )  # fmt: skip


def hostile(count: int) -> Table:
    generator = random.Random(7)  # no secret
    letters = "ab_*`~<>|[]()!&#\\$%^{}:/@'\"=+-\n\t. 1;wé–½√Δ中ß\u0660\u202e\x1b👍ǆẽŋ,\u00ad\u0301«»¿¡ŉ"
    texts = [*NASTY, *("".join(generator.choices(letters, k=generator.randint(1, 30))) for _ in range(count))]
    rows = tuple(
        TableRow(text, "m", {"t": TableCell(text), "x": TableCell(status=text)}, (text,)) for text in texts[::4]
    )
    return Table("hostile", texts[0], (Heading("t", "text"), Heading("x", texts[5])), rows, tuple(texts[1::4]))


def compiled(text: str, layout: LayoutName, folder: Path) -> str:
    """Return the log of TeX, which may not run a command; raise where it met an error."""
    packages = r"\usepackage{booktabs}\usepackage{siunitx}\usepackage{graphicx}"
    document = "\n".join([SIZES[layout], packages, r"\begin{document}", text, r"\end{document}"])
    (folder / "t.tex").write_text(document, encoding="utf-8")
    command = [str(TEX), "-no-shell-escape", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    log = (folder / "t.log").read_text(encoding="latin-1")
    assert done.returncode == 0, log[log.find("\n!") :][:600]
    return log


@pytest.mark.skipif(TEX is None, reason="no TeX is installed (pdflatex, with booktabs and siunitx)")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_tables_compile_within_their_layout(layout: LayoutName, tmp_path: Path) -> None:
    tables = [*published(), wide(2, 2, 4), wide(1, 1, 60, models=1), hostile(80), table((Heading("x", "x"),))]
    log = compiled(latex(tables, layout=layout, prefix="all"), layout, tmp_path)
    over = [float(points) for points in re.findall(r"Overfull \\[hv]box \(([\d.]+)pt too", log)]
    assert max(over, default=0.0) <= 5.0
    assert "too large" not in log
    assert "multiply defined" not in log


def test_widths_are_those_of_the_font() -> None:
    assert width_of("0.123") == pytest.approx(0.86 * (4 * 5.0 + 2.78))
    assert width_of("中") > width_of("W")
