"""The page says what the other forms say, holds nothing active, and shows every text as text."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from report.test_drawing import figure
from report.test_forms import HOSTILE, NASTY, small

from harness.report.differences import Difference
from harness.report.grid import visible
from harness.report.page.leaderboard import FORMS, Beside, page
from harness.report.page.render import render
from harness.report.pictures.every import Picture
from harness.report.pictures.svg import STYLE
from harness.report.results import load_results
from harness.report.statistics import Interval
from harness.report.table import Heading, Table, TableCell, TableRow, folded, shown
from harness.report.write import build

if TYPE_CHECKING:
    from report.synthetic import Run

TAGS = {
    "html", "head", "meta", "title", "style", "body", "header", "h1", "h2", "p", "nav", "a", "section", "div", "table",
    "thead", "tbody", "tr", "th", "td", "span", "ul", "li", "details", "summary", "main", "script", "pre",
    "dl", "dt", "dd", "figure", "h3", "figcaption", "svg", "desc", "path", "circle", "text",
}  # fmt: skip
ATTRIBUTES = {
    "lang", "charset", "http-equiv", "content", "name", "href", "id", "class", "tabindex", "colspan", "scope", "role",
    "aria-label", "hidden", "data-first", "data-key", "download",
    "width", "height", "viewbox", "aria-labelledby", "x", "y", "text-anchor", "transform", "cx", "cy", "r", "d",
    "fill", "fill-opacity", "stroke-width", "stroke-dasharray",
}  # fmt: skip
LINKS = re.compile(
    r"#[a-z0-9-]+|\.\./\.\./index\.html|(leaderboard|scores|manifest|cases)\.[a-z]+|answers/index\.html|pictures/[\w-]+\.(csv|svg)"
)


class Page(HTMLParser):
    """The texts of a page, and everything that is no text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        """Every tag with the names of its attributes."""
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = [""]
        self.comments: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.elements.append((tag, tuple(name for name, _ in attrs)))
        self.attributes += attrs
        if tag != "meta":
            self.open.append(tag)
        self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.texts.append("")

    def handle_data(self, data: str) -> None:
        if "style" not in self.open and "script" not in self.open:
            self.texts[-1] += data

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    @property
    def said(self) -> set[str]:
        return {text.strip() for text in self.texts}


def checked(text: str) -> Page:
    """Parse a page, after checking that it has no tag and no attribute but those of the template."""
    found = Page(text)
    assert found.open == []
    assert found.comments == []
    assert found.tags <= TAGS
    for name, value in found.attributes:
        assert name in ATTRIBUTES
        assert name != "href" or LINKS.fullmatch(value or "")
    return found


def one_line(text: str) -> str:
    return "\n".join(map(visible, text.split("\n"))).strip()


@given(text=HOSTILE)
@settings(deadline=None)
def test_any_text_reads_back_as_it_was(text: str) -> None:
    table = small(label=text, value=text, mark=text, model=text, caption=f"c {text}")
    shown: dict[str, Any] = {"pictures": [Picture(figure(text))], "picture_style": STYLE}
    found = checked(page(f"T {text}", [f"n {text}"], [table], [f"e {text}"], **shown))
    for expected in (text, f"T {text}", f"c {text}", f"n {text}", f"e {text}"):
        assert one_line(expected) in found.said


@pytest.mark.parametrize(
    "text", [*NASTY, "</style><script>x</script>", "]]>", "{{ 7 * 7 }}", "{% include 'x' %}", "<!--"]
)
def test_nasty_texts_are_texts(text: str) -> None:
    table = small(label=text, value=text, mark=text, caption=text)
    shown: dict[str, Any] = {"pictures": [Picture(figure(text))], "picture_style": STYLE}
    found = checked(page(text, [text], [table], [text], **shown))
    assert one_line(text) in found.said
    assert "49" not in found.said


def test_nothing_comes_from_elsewhere() -> None:
    text = page("T", [], [small()], pictures=[Picture(figure())], picture_style=STYLE)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)
    script = re.search(r"<script>(.+?)</script>", text, re.DOTALL)
    assert policy
    assert script
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    allowed = f"style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert policy[1] == f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"
    rest = text.replace(script[0], "")
    assert not re.search(r"url\(|@import|src=|https?:|<script|<link|<img|<iframe| on\w+=", rest)
    assert not re.search(r"https?:|fetch|eval|innerHTML|import\(|XMLHttp|WebSocket", script[1])


def test_the_script_of_answers_makes_no_markup_of_texts_either() -> None:
    text = render("answers.html", title="T", notes=[], prompts=[], rows="[]", before="", after="", answers="prompts")
    assert not re.search(r"https?:|fetch|eval|innerHTML|insertAdjacentHTML|import\(|XMLHttp|WebSocket", text)


def test_every_cell_is_there(run: Run) -> None:
    run.unfinished = {("eso", "train", "1")}
    document = build(load_results(run.root, run.write()))
    text = page(document.title, document.notes, document.tables, document.ending)
    text = re.sub(r"<script>.+?</script>", "", text, flags=re.DOTALL)
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
    text = page("T", [], [Table("t", "T", (Heading("x", "x"),), rows)])
    assert re.findall(r'<td class="(\w*)" data-key', text) == ["best", "", ""]


def test_a_claimed_difference_is_set_apart() -> None:
    found = [Difference(0.2, low, 0.3, claims=claims) for low, claims in ((0.1, True), (-0.1, True), (0.1, False))]
    rows = tuple(TableRow(str(i), "m", {"x": TableCell(0.2, d.interval, difference=d)}) for i, d in enumerate(found))
    text = page("T", [], [Table("t", "T", (Heading("x", "x"),), rows)])
    assert re.findall(r'<td class="(\w*)" data-key', text) == ["best", "", ""]
    assert '+0.20<span class="pm"> [+0.10, +0.30]</span>' in text


class Square:
    """A picture."""

    name, title, caption = "square", "A <square>", "It is & stays square."

    def svg(self, theme: str, *, column: bool) -> str:
        return f'<svg class="picture" id="{theme}-{column}"></svg>'


SQUARE_STYLE = """.picture { --p: 1; }
@media (prefers-color-scheme: dark) {
  .picture { --p: 2; }
}
@media print {
  .picture { --p: 3; }
}
"""


def test_pictures_stand_below_the_first_table_in_both_widths() -> None:
    downloads = Beside(downloads=FORMS)
    text = page("T", [], [small(), small()], pictures=[Square()], picture_style=SQUARE_STYLE, beside=downloads)
    found = checked(text)
    assert '<svg class="picture" id="page-False"></svg><svg class="picture" id="page-True"></svg>' in text
    assert {"A <square>", "It is & stays square."} <= found.said
    assert text.index('id="scores"') < text.index('id="picture-square"') < text.index('id="scores-2"')
    assert text.count('href="pictures/square.csv"') == text.count('href="pictures/square.svg"') == 2
    assert ':root[data-theme="dark"] .picture { --p: 2; }' in text
    assert ':root:not([data-theme="light"]) .picture { --p: 2; }' in text
    assert ":root[data-theme] .picture, :root:not(#x) .picture { --p: 3; }" in text


def test_the_setup_is_a_list_of_names_and_words() -> None:
    found = checked(page("T", [], [small()], setup={"Budget": "1 epoch", "<b>": "</dd>"}))
    assert {"Budget", "1 epoch", "<b>", "</dd>"} <= found.said
    assert "dl" not in checked(page("T", [], [small()])).tags
