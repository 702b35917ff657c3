"""The pages in a browser, used as a person uses them: what changes, what is asked for, what axe-core finds."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from report.chromium import BINARY, Browser, axe_source
from report.synthetic import GREEDY, T1, Place, Run, plain_value

from harness.report.page.index import write_index
from harness.report.page.leaderboard import page
from harness.report.table import Heading, Table, TableCell, TableRow
from harness.report.write import write_tables

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(not BINARY, reason="no Chromium on this machine")

TITLE = "<script>document.title = 'changed'</script><img src=x onerror=alert(1)>"
ROWS = (
    "[...document.querySelectorAll('#summary tbody tr')].filter((row) => !row.hidden)"
    ".map((row) => row.cells[0].innerText)"
)
PAGES = ("leaderboard.html", "answers/index.html", "answers/in-data-t1-1.html", "../../index.html")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        started = Browser(Path(profile))
        yield started
        started.close()


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Return the folder of one run whose pages are all written."""
    memory = Path("/dev/shm")  # noqa: S108  # a folder of one's own in it
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        yield written(Path(name) / "results")


def prompt(index: int) -> dict[str, Any]:
    kind = ("arithmetic", "history")[index % 2]
    return {
        "fields": {"instruction": f"question {index} about <b>{kind}</b>"}, "completion": f"truth {index}",
        "references": [], "columns": {"category": kind},
    }  # fmt: skip


def value(place: Place) -> float | None:
    return None if place.row == "base" and place.example == 1 else plain_value(place)


def written(root: Path) -> Path:
    run = Run(root, decodings={"greedy": GREEDY, "t1": T1}, examples=14, prompts=prompt, value=value)
    run.answer = lambda row, _seed, index: f"{row} says </pre><script>alert({index})</script> to {index * 111}"
    run.manifest = {"title": TITLE}
    folder = run.write()
    write_tables(root, folder)
    write_index(root)
    return folder


@pytest.fixture
def leaderboard(browser: Browser, folder: Path) -> Browser:
    browser.open((folder / "leaderboard.html").as_uri())
    browser.js("localStorage.clear()")
    return browser


def test_texts_run_nothing(leaderboard: Browser) -> None:
    assert leaderboard.js("document.title") == f"{TITLE} (quick)"
    assert leaderboard.js("document.querySelectorAll('img').length") == 0


def test_rows_are_sorted_by_a_column_and_back(leaderboard: Browser) -> None:
    before = leaderboard.js(ROWS)
    button = "#summary thead tr:last-child th:nth-child(2) button"
    states, orders = [], []
    for _ in range(3):
        leaderboard.click(button)
        states.append(leaderboard.js(f"document.querySelector('{button}').parentElement.getAttribute('aria-sort')"))
        orders.append(leaderboard.js(ROWS))
    assert states == ["descending", "ascending", None]
    assert orders == [["eso", "sft", "base"], ["base", "sft", "eso"], before]


def test_what_has_no_number_stays_last(leaderboard: Browser) -> None:
    button = "#summary thead tr:last-child th:nth-child(3) button"  # of differences from sft: base has none
    for first in ("eso", "eso"):
        leaderboard.click(button)
        order = leaderboard.js(ROWS)
        assert (order[0], set(order[1:])) == (first, {"base", "sft"})


def test_the_keyboard_alone_sorts(leaderboard: Browser) -> None:
    leaderboard.js("document.querySelector('#summary .tools summary').focus()")
    for _ in range(9):
        leaderboard.press("Tab")
        if leaderboard.js("document.activeElement.innerText").startswith("method"):
            break
    assert leaderboard.js("document.activeElement.matches(':focus-visible')")
    assert leaderboard.js("parseFloat(getComputedStyle(document.activeElement).outlineWidth)") >= 2
    leaderboard.press("Enter")
    assert leaderboard.js(ROWS) == ["base", "eso", "sft"]
    leaderboard.press(" ")
    assert leaderboard.js(ROWS) == ["sft", "eso", "base"]


def test_rows_are_filtered_by_words(leaderboard: Browser) -> None:
    leaderboard.click("#summary .tools summary")
    leaderboard.write("#summary .tools input[type=search]", "S")
    assert set(leaderboard.js(ROWS)) == {"sft", "base", "eso"}
    leaderboard.write("#summary .tools input[type=search]", "ESO")
    assert leaderboard.js(ROWS) == ["eso"]
    assert leaderboard.js("document.querySelector('#summary output').textContent") == "1 of 3 rows"
    leaderboard.click("#summary .tools .button")
    assert len(leaderboard.js(ROWS)) == 3


def test_columns_are_chosen(leaderboard: Browser) -> None:
    def columns() -> list[str]:
        found: list[str] = leaderboard.js(
            "[...document.querySelectorAll('#summary thead tr:last-child th, #summary tbody tr:first-child > *')]"
            ".filter((cell) => cell.offsetWidth > 0).map((cell) => cell.tagName)"
        )
        return found

    before = columns()
    leaderboard.click("#summary .tools summary")
    leaderboard.click("#summary .tools fieldset label")
    assert len(columns()) == len(before) - 2  # the heading, and the cell below
    wide = (
        "[...document.querySelectorAll('#summary thead tr:first-child > *')]"
        ".reduce((sum, each) => sum + (each.hidden ? 0 : each.colSpan), 0)"
    )
    assert leaderboard.js(wide) == len(columns()) // 2
    leaderboard.click("#summary .tools .button")
    assert columns() == before


def test_dark_is_as_the_system_says_until_it_is_chosen(browser: Browser, folder: Path) -> None:
    url = (folder / "leaderboard.html").as_uri()
    paper = "getComputedStyle(document.body).backgroundColor"
    browser.open(url)
    browser.js("localStorage.clear()")
    light = browser.js(paper)
    browser.prefer(dark=True)
    dark = browser.js(paper)
    assert dark != light
    browser.open(url)
    browser.click("button.theme")
    assert browser.js(paper) == dark
    browser.open(url)  # it is remembered
    assert browser.js(paper) == dark
    browser.click("button.theme")
    assert browser.js(paper) == light
    browser.js("localStorage.clear()")


@pytest.mark.parametrize("width", [1280, 390])
def test_no_page_is_wider_than_its_window(browser: Browser, folder: Path, width: int) -> None:
    for name in PAGES:
        browser.open((folder / name).resolve().as_uri(), width=width)
        assert browser.js("document.documentElement.scrollWidth") <= width, name


def test_a_wide_table_says_that_it_scrolls(leaderboard: Browser) -> None:
    hint = "document.querySelector('#summary .hint').offsetHeight > 0"
    box = "document.querySelector('#summary .scroll')"
    wider = f"{box}.scrollWidth > {box}.clientWidth"
    for width, there in ((1280, False), (390, True)):
        leaderboard.window(width)
        leaderboard.settle()
        leaderboard.settle()
        assert (leaderboard.js(hint), leaderboard.js(wider)) == (there, there)


def test_on_paper_nothing_is_folded_or_cut(leaderboard: Browser) -> None:
    explained = "document.querySelector('#summary > details li').checkVisibility({contentVisibilityAuto: true})"
    assert not leaderboard.js("document.querySelector('#summary > details').open")
    leaderboard.prefer(dark=True, media="print")
    leaderboard.settle()
    assert leaderboard.js("document.querySelector('#summary > details li').getBoundingClientRect().height") > 0
    assert leaderboard.js(explained)
    assert leaderboard.js("getComputedStyle(document.querySelector('#summary .scroll')).overflow") == "visible"
    assert leaderboard.js("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_without_a_script_everything_is_there(browser: Browser, folder: Path) -> None:
    browser.open((folder / "leaderboard.html").as_uri(), script=False)
    browser.call("Emulation.setScriptExecutionDisabled", value=False)  # to look, now that nothing has run
    assert browser.js("document.querySelectorAll('button, input').length") == 0
    assert browser.js("document.querySelectorAll('#summary tbody tr').length") == 3


def test_answers_are_found_from_the_page_of_contents(browser: Browser, folder: Path) -> None:
    browser.open((folder / "answers" / "index.html").as_uri())
    browser.write("#search input", "eso 1443")
    browser.press("Enter")
    said = browser.until(
        "(document.querySelector('#search [role=status]').textContent.match(/^\\d+ prompt.*/) || [''])[0]"
    )
    assert said == "2 prompts found."  # number 13, under both decodings
    hits = browser.js("[...document.querySelectorAll('.hits li')].map((hit) => hit.innerText)")
    assert all(hit.startswith("13 in-data, ") and "history; eso: eso says </pre><script>" in hit for hit in hits)
    link = browser.js("document.querySelector('.hits a').href")
    assert not browser.complaints()
    browser.open(link)
    assert browser.js("document.querySelector(location.hash).querySelector('h3').textContent") == "13"
    assert browser.js("document.querySelector('#search input').value") == "eso 1443"


def test_answers_are_listed_by_category(browser: Browser, folder: Path) -> None:
    browser.open((folder / "answers" / "index.html").as_uri())
    browser.js(
        "(() => { const select = [...document.querySelectorAll('#search select')].pop();"
        "select.value = 'history'; select.dispatchEvent(new Event('change')); })()"
    )
    browser.until("document.querySelector('#search [role=status]').textContent === '14 prompts found.'")
    target = browser.js("[...document.querySelectorAll('tbody th a')].find((a) => a.textContent === 'history').href")
    browser.open(target)
    assert browser.js(
        "document.querySelector(location.hash).parentElement.querySelector('h2').textContent"
    ) == "history"  # fmt: skip


def test_prompts_of_one_page_are_searched_and_rows_chosen(browser: Browser, folder: Path) -> None:
    browser.open((folder / "answers" / "in-data-greedy-1.html").as_uri())
    cards = "[...document.querySelectorAll('.card[data-row]')].filter((card) => card.offsetHeight > 0).length"
    assert browser.js(cards) == 3 * browser.js("document.querySelectorAll('.case').length")
    browser.write("#search input", "sft 888")
    assert browser.js(cards) == 3
    browser.click("#search summary")
    browser.click("#search fieldset label")
    assert browser.js(cards) == 2
    assert browser.js("document.querySelector('#search output').textContent").startswith("1 of ")


@pytest.mark.parametrize(
    "name", ["leaderboard.html", "answers/index.html", "answers/in-data-t1-1.html", "../../index.html"]
)
def test_pages_are_quiet_alone_and_open_to_all(browser: Browser, folder: Path, name: str) -> None:
    """No error in the console, no request to any host, nothing that axe-core finds."""
    axe = axe_source()
    for dark in (False, True) if name == PAGES[0] else (False,):  # all have the same colours
        browser.open((folder / name).resolve().as_uri(), dark=dark)
        assert browser.complaints() == []
        assert all(url.startswith("file:") for url in browser.requests())
        if axe:
            browser.js("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
            assert browser.violations(axe) == []
    if not axe:
        pytest.skip("the rest passed; axe-core is not installed (pip install axe-core-python)")


def test_a_policy_that_is_broken_would_be_seen(browser: Browser, tmp_path: Path) -> None:
    """The tests above could see it."""
    text = page("T", [], [Table("t", "T", (Heading("x", "x"),), (TableRow("a", "m", {"x": TableCell(1.0)}),))])
    (tmp_path / "page.html").write_text(text.replace('"use strict";', '"use strict" ;', 1), encoding="utf-8")
    browser.open((tmp_path / "page.html").as_uri())
    assert any("Content Security Policy" in said for said in browser.complaints())


@pytest.mark.long
def test_the_page_of_a_thousand_stages(browser: Browser, tmp_path: Path) -> None:
    """A hundred rows with three seeds each, in four tables; with every row a table of its own it is still small."""

    def text(rows: int, columns: int = 30) -> str:
        headings = tuple(Heading(f"c{number}", f"column {number}", f"data {number // 6}") for number in range(columns))
        lines = [
            TableRow(f"row {row}", "m", {h.name: TableCell(row * 7.31 % 100 + n) for n, h in enumerate(headings)})
            for row in range(rows)
        ]
        return page("Many", [], [Table("summary", "At a glance", headings, tuple(lines))] * 4)

    assert len(text(340).encode()) < 5_000_000
    (tmp_path / "page.html").write_text(text(110), encoding="utf-8")
    browser.open((tmp_path / "page.html").as_uri())
    browser.click("#summary thead tr:last-child th:nth-child(2) button")
    assert browser.js(ROWS)[0] == "row 41"  # 299.71 modulo 100, the most of all
    assert browser.complaints() == []
