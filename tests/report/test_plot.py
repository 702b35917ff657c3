"""``harness plot`` writes the pictures of a run for papers, and says what it cannot draw."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result
from report.test_drawing import figure

from harness.cli import main
from harness.errors import MachineError
from harness.report.pictures.drawing import COLUMN, PIXELS_AN_INCH
from harness.report.pictures.layout import lay_out
from harness.report.pictures.paper import paper
from harness.report.publish import publish
from harness.report.write import write_tables

if TYPE_CHECKING:
    from pathlib import Path

    from report.synthetic import Run

    from harness.report.pictures.paper import Form


def plot(run: Run, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["plot", "--results", str(run.root), *arguments])


@pytest.fixture
def written(run: Run) -> Run:
    run.rows, run.examples = ("sft", "eso"), 4
    run.write()
    return run


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_svg_and_csv_of_every_picture_are_written(written: Run) -> None:
    result = plot(written)
    assert result.exit_code == 0, result.output
    folder = written.root / "small" / "quick" / "figures"
    assert names(folder) == {
        f"{name}.{form}"
        for name in ("differences", "cost", "training", "divergence", "phases")
        for form in ("svg", "csv")
    }
    assert "differences.svg|csv: Difference to sft" in result.output


def test_only_some_are_written_where_that_is_asked(written: Run, tmp_path: Path) -> None:
    options = ("--output", str(tmp_path / "a"), "--dark", "--width", "column", "--only", "cost,phases")
    result = plot(written, "small/quick", *options)
    assert result.exit_code == 0, result.output
    assert names(tmp_path / "a") == {"cost.svg", "cost.csv", "phases.svg", "phases.csv"}
    text = (tmp_path / "a" / "cost.svg").read_text(encoding="utf-8")
    assert 'width="345"' in text
    assert "#14181d" in text


def test_what_a_run_lacks_is_said(written: Run, tmp_path: Path) -> None:
    some = plot(written, "--only", "wins,phases", "--output", str(tmp_path))
    assert some.exit_code == 0
    assert "left out: wins: this run lacks what it takes (a metric that is a judge)" in some.stderr
    none = plot(written, "--only", "wins", "--output", str(tmp_path / "none"))
    assert none.exit_code == 2
    assert "wins: this run lacks what it takes (a metric that is a judge)" in none.output
    assert not (tmp_path / "none").exists()


def test_a_name_that_is_none_is_corrected(written: Run) -> None:
    result = plot(written, "--only", "cots")
    assert result.exit_code == 2
    assert "there is no such picture, got 'cots'" in result.output
    assert "did you mean 'cost'?" in result.output


def test_what_is_not_stored_is_asked_for(written: Run) -> None:
    (written.root / "store" / "score").rename(written.root.parent / "score")
    refused = plot(written)
    assert "stages behind these numbers are not in the store" in refused.output
    assert not (written.root / "small" / "quick" / "figures").exists()
    assert plot(written, "--partial").exit_code == 0
    assert names(written.root / "small" / "quick" / "figures") >= {"training.svg", "phases.svg"}


def test_without_matplotlib_svg_is_left(written: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = plot(written, "--format", "svg", "--format", "pdf", "--output", str(tmp_path / "a"))
    assert result.exit_code != 0
    assert result.output.startswith("error: PDF is drawn by matplotlib, which cannot be imported")
    assert "Traceback" not in result.output
    assert "pip install 'posttune-harness[plot]'; --format svg needs nothing" in result.output
    assert not (tmp_path / "a").exists()
    assert plot(written, "--output", str(tmp_path / "a")).exit_code == 0


@pytest.mark.parametrize("form", ["pdf", "png"])
def test_a_form_for_papers_is_the_same_whenever_it_is_made(form: Form) -> None:
    pytest.importorskip("matplotlib")
    some = figure("a $\\frac{x}$ _^{")
    drawing = lay_out(replace(some, panels=some.panels[:1]), COLUMN)
    first, second = (paper(drawing, form, title="T $x$") for _ in range(2))
    assert first == second
    if form == "png":
        assert first.startswith(b"\x89PNG")
        return
    width, height = (size / PIXELS_AN_INCH * 72 for size in (drawing.width, drawing.height))
    box = re.search(rb"/MediaBox \[\s*0 0 ([\d.]+) ([\d.]+)", first)
    assert box is not None
    assert (float(box[1]), float(box[2])) == pytest.approx((width, height))
    assert b"/ToUnicode" in first  # text, which can be searched and copied


def test_no_paper_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MachineError, match="PDF is drawn by matplotlib"):
        paper(lay_out(figure()), "pdf", title="T")


def test_a_report_writes_them_beside_the_page(written: Run) -> None:
    folder = written.root / "small" / "quick"
    (folder / "pictures").mkdir()
    for name in ("wins.svg", "mine.txt"):
        (folder / "pictures" / name).write_text("old", encoding="utf-8")
    write_tables(written.root, folder)
    found = names(folder / "pictures")
    assert {"differences.svg", "differences.csv", "mine.txt"} <= found
    assert "wins.svg" not in found
    page = (folder / "leaderboard.html").read_text(encoding="utf-8")
    assert page.count("<figure ") == 5
    assert page.count("<svg ") == 10  # for screens, and for phones
    assert 'href="pictures/differences.csv"' in page


def test_names_of_categories_are_not_published(run: Run) -> None:
    run.rows = ("sft", "eso")
    run.prompts = lambda i: {"fields": {}, "columns": {"category": f"secret {i % 2}"}}
    run.examples = 8
    folder = run.write()
    write_tables(run.root, folder)
    assert "secret 1 (4)" in (folder / "pictures" / "categories.svg").read_text(encoding="utf-8")
    public = publish(run.root, folder)
    assert (public / "pictures" / "differences.svg").is_file()
    for path in public.rglob("*.*"):
        assert "secret 1" not in path.read_text(encoding="utf-8"), path
