"""The page says what the other forms say, holds nothing active, and shows every text as text."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from report.test_drawing import figure
from report.test_forms import HOSTILE, NASTY, small

from harness.report import html
from harness.report.differences import Difference
from harness.report.grid import visible
from harness.report.pictures.every import Picture
from harness.report.results import load_results
from harness.report.statistics import Interval
from harness.report.table import Heading, Table, TableCell, TableRow, folded, shown
from harness.report.write import build, write_tables

if TYPE_CHECKING:
    from pathlib import Path

    from report.synthetic import Run

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
TAGS = {
    "html", "head", "meta", "title", "style", "body", "header", "h1", "h2", "p", "nav", "a", "section", "div", "table",
    "thead", "tbody", "tr", "th", "td", "span", "ul", "li", "details", "summary",
    "figure", "h3", "figcaption", "svg", "desc", "path", "circle", "text",
}  # fmt: skip
ATTRIBUTES = {
    "lang", "charset", "http-equiv", "content", "name", "href", "id", "class", "tabindex", "colspan", "scope", "open",
    "width", "height", "viewbox", "role", "aria-labelledby", "x", "y", "text-anchor", "transform", "cx", "cy", "r", "d",
    "fill", "fill-opacity", "stroke-width", "stroke-dasharray",
}  # fmt: skip


class Page(HTMLParser):
    """The texts of a page, and everything that is no text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = [""]
        self.comments: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        if tag != "meta":
            self.open.append(tag)
        self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.texts.append("")

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.texts[-1] += data

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    @property
    def said(self) -> set[str]:
        return {text.strip() for text in self.texts}


def checked(text: str) -> Page:
    """Parse a page, after checking that it has no tag and no attribute but those of the template."""
    page = Page(text)
    assert page.open == []
    assert page.comments == []
    assert page.tags <= TAGS
    for name, value in page.attributes:
        assert name in ATTRIBUTES
        assert name != "href" or re.fullmatch(r"#(t\d+|run|pictures)|pictures/every\.(svg|csv)", value or "")
    return page


def one_line(text: str) -> str:
    return "\n".join(map(visible, text.split("\n"))).strip()


@given(text=HOSTILE)
@settings(deadline=None)
def test_any_text_reads_back_as_it_was(text: str) -> None:
    table = small(label=text, value=text, mark=text, model=text, caption=f"c {text}")
    page = checked(html.page(f"T {text}", [f"n {text}"], [table], [f"e {text}"], [Picture(figure(text))]))
    for expected in (text, f"T {text}", f"c {text}", f"n {text}", f"e {text}"):
        assert one_line(expected) in page.said


@pytest.mark.parametrize(
    "text", [*NASTY, "</style><script>x</script>", "]]>", "{{ 7 * 7 }}", "{% include 'x' %}", "<!--"]
)
def test_nasty_texts_are_texts(text: str) -> None:
    table = small(label=text, value=text, mark=text, caption=text)
    page = checked(html.page(text, [text], [table], [text], [Picture(figure(text))]))
    assert one_line(text) in page.said
    assert "49" not in page.said


def test_nothing_comes_from_elsewhere() -> None:
    text = html.page("T", [], [small()], [], [Picture(figure())])
    assert "default-src 'none'; style-src 'unsafe-inline'" in text
    assert not re.search(r"url\(|@import|src=|https?:|<script|<link|<img|<iframe| on\w+=", text)


def test_every_cell_is_there(run: Run) -> None:
    run.unfinished = {("eso", "train", "1")}
    document = build(load_results(run.root, run.write()))
    text = html.page(document.title, document.notes, document.tables, document.ending)
    flat = re.sub(r"<[^>]+>", "\x1f", text.replace('<span class="pm">', "").replace("</span>", ""))
    cells = {part.strip() for part in flat.replace("&#39;", "'").split("\x1f")}
    for table in map(folded, document.tables):
        for heading in table.headings:
            for row in table.rows:
                if heading.shown and heading.name in row.cells:
                    assert shown(row.cells[heading.name], heading) in cells
        assert set(table.caption) <= cells
    assert {*document.notes, *document.ending} <= cells
    assert "failed for seed 1" in text


def test_what_is_tied_with_the_best_is_set_apart() -> None:
    cells = {"x": TableCell(0.5, Interval(0.5, 0.4, 0.6), "a")}
    later = {"x": TableCell(0.5, Interval(0.5, 0.4, 0.6), "a1")}
    none = {"x": TableCell(0.5, Interval(0.5, 0.4, 0.6), "b")}
    rows = tuple(TableRow(name, "m", c) for name, c in (("p", cells), ("q", later), ("r", none)))
    text = html.page("T", [], [Table("t", "T", (Heading("x", "x"),), rows)])
    assert re.findall(r'<td class="(\w*)">', text) == ["best", "", ""]


def test_a_claimed_difference_is_set_apart() -> None:
    found = [Difference(0.2, low, 0.3, claims=claims) for low, claims in ((0.1, True), (-0.1, True), (0.1, False))]
    rows = tuple(TableRow(str(i), "m", {"x": TableCell(0.2, d.interval, difference=d)}) for i, d in enumerate(found))
    text = html.page("T", [], [Table("t", "T", (Heading("x", "x"),), rows)])
    assert re.findall(r'<td class="(\w*)">', text) == ["best", "", ""]
    assert '+0.20<span class="pm"> [+0.10, +0.30]</span>' in text


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine")
def test_a_browser_shows_the_page_and_runs_nothing(run: Run, tmp_path: Path) -> None:
    run.manifest = {"title": "<script>document.title = 'changed'</script><img src=x onerror=alert(1)>"}
    folder = run.write()
    write_tables(run.root, folder)
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    page = f"file://{folder / 'leaderboard.html'}"
    found = subprocess.run([*command, "--dump-dom", page], capture_output=True, text=True, check=True, timeout=120)
    assert "<title>&lt;script&gt;document.title = 'changed'&lt;/script&gt;" in found.stdout
    assert "<td" in found.stdout
    picture = tmp_path / "page.png"
    shot = [*command, "--window-size=1400,1200", f"--screenshot={picture}", page]
    subprocess.run(shot, capture_output=True, check=True, timeout=120)
    assert picture.read_bytes().startswith(b"\x89PNG")
