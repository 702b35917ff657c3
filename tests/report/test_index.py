"""The page over all results names every run, and what each says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from report.test_html import Page

from harness.report.page.cite import citation
from harness.report.page.index import index
from harness.report.results import read_manifest
from harness.report.write import write_tables

if TYPE_CHECKING:
    from report.synthetic import Run


def test_every_run_stands_there_with_what_it_says(run: Run) -> None:
    run.manifest = {"title": "<b>bold</b> &amp; more"}
    write_tables(run.root, run.write())
    text = index(run.root)
    page = Page(text)
    assert {"<b>bold</b> &amp; more", "tiny", "tales, in-data", "3"} <= page.said
    assert "On in-data" in text
    assert "b" not in page.tags


def test_a_run_that_cannot_be_read_is_named_too(run: Run) -> None:
    folder = run.write()
    (folder / "manifest.json").write_text("{", encoding="utf-8")
    (folder / "leaderboard.json").write_text("[]", encoding="utf-8")
    assert "manifest.json: cannot be read" in index(run.root)
    run.manifest = {"format": 99}
    run.write()
    assert "written in another format" in index(run.root)


def test_without_runs_it_says_so(run: Run) -> None:
    assert "No run has left its results here." in index(run.root)


def test_a_citation_is_of_the_harness_and_of_one_run(run: Run) -> None:
    run.manifest = {"title": r"50% {of} A_B \input{x} & more"}
    text = citation(read_manifest(run.write()), "ab12")
    assert re.findall(r"^@(\w+)\{([\w-]+),$", text, re.MULTILINE) == [
        ("software", "posttune-harness"), ("misc", "posttune-small-quick"),
    ]  # fmt: skip
    assert r"50\% \textbraceleft{}of\textbraceright{} A\_B \textbackslash{}input" in text
    assert "version = {{0.1.0}}" in " ".join(text.split())
    assert "seeds 0, 1, 2" in text
    assert "manifest.json with sha256 ab12" in text
    depth = 0
    for letter in re.sub(r"\\.", "", text):
        depth += {"{": 1, "}": -1}.get(letter, 0)
        assert depth >= 0
    assert depth == 0
