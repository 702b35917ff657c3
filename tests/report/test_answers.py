"""Every prompt's answers stand beside each other, in pages of a size that opens, and stay at home."""

from __future__ import annotations

import json
import random
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from report.synthetic import GREEDY, ROUGE_L, Run
from report.test_forms import NASTY
from report.test_html import Page

from harness.report.answers import categories
from harness.report.page.browser import answer_files
from harness.report.page.leaderboard import page
from harness.report.page.render import visible_lines
from harness.report.publish import publish
from harness.report.results import load_results
from harness.report.write import build, make_tables, write_tables
from harness.spec.results.rows import DataRow

if TYPE_CHECKING:
    from collections.abc import Callable


def prompt(index: int) -> dict[str, Any]:
    return {
        "fields": {"instruction": f"question {index}", "context": ""}, "completion": f"truth {index}",
        "columns": {"category": "abc"[index % 3]},
    }  # fmt: skip


@pytest.fixture
def asked(run: Run) -> Run:
    run.prompts = prompt
    run.answer = lambda row, seed, index: f"{row} says {index} in seed {seed}"
    return run


def files(run: Run, **options: Any) -> dict[str, str]:
    return answer_files(load_results(run.root, run.write()), "Small (quick)", **options)


def cards(text: str) -> list[tuple[str, str, str]]:
    found = re.findall(
        r'<div class="card" data-row="\d+"><h4>(.+?)</h4>\n(?:<p class="scores">(.+?)</p>\n)?<pre.*?>(.*?)</pre>', text
    )
    return [(name, scores, answer) for name, scores, answer in found]


def test_every_row_answers_every_prompt(asked: Run) -> None:
    found = files(asked)
    assert list(found) == ["answers/in-data-t1-1.html", "answers/in-data-t1-1.js", "answers/index.html"]
    said = cards(found["answers/in-data-t1-1.html"])
    assert len(said) == asked.examples * len(asked.rows)
    assert {answer for _, _, answer in said} == {
        f"{row} says {index} in seed 0" for row in asked.rows for index in range(asked.examples)
    }


def test_an_answer_has_its_score_beside_the_mean_of_all(asked: Run) -> None:
    asked.seeds, asked.value = (0, 1), lambda place: 0.25 + 0.5 * place.seed
    said = cards(files(asked)["answers/in-data-t1-1.html"])
    assert {scores for _, scores, _ in said} == {"ROUGE-L [50]"}  # no score stage of these has each answer's own
    asked.root, asked.own = asked.root / "other", lambda _, draw: 0.1 + 0.2 * draw
    said = cards(files(asked)["answers/in-data-t1-1.html"])
    assert {scores for _, scores, _ in said} == {"ROUGE-L 10 [50]"}


def test_what_has_no_answer_says_why(asked: Run) -> None:
    asked.unfinished = {("eso", "train", "0")}
    said = cards(files(asked)["answers/in-data-t1-1.html"])
    assert {answer for name, _, answer in said if name == "eso"} == {"failed"}


def test_categories_follow_each_other_and_have_means(asked: Run) -> None:
    asked.value = lambda place: 0.1 * (place.example % 3)
    found = files(asked)
    assert re.findall(r"<h2>(\w)</h2>", found["answers/in-data-t1-1.html"]) == ["a", "b", "c"]
    index = found["answers/index.html"]
    links = dict(re.findall(r'<a href="(in-data-t1-1\.html#p\d+)">(\w)</a>', index))
    assert links == {"in-data-t1-1.html#p1": "a", "in-data-t1-1.html#p5": "b", "in-data-t1-1.html#p9": "c"}
    assert re.findall(r'data-key="([^"]+)"', index) == ["4", *["0"] * 3, "4", *["0.1"] * 3, "4", *["0.2"] * 3]


def test_prompts_without_categories_keep_their_order(asked: Run) -> None:
    asked.prompts = lambda index: {**prompt(index), "columns": {"category": f"of its own {index}" if index else "x"}}
    asked.examples = 70
    text = files(asked)["answers/in-data-t1-1.html"]
    assert [int(number) for number in re.findall(r'id="p(\d+)"', text)] == list(range(1, 71))
    assert re.findall(r"<h3>(\d+)</h3>", text) == [str(index) for index in range(70)]


def test_a_category_is_a_text_that_several_prompts_share() -> None:
    def found(**columns: str) -> dict[str, str]:
        """Return the categories of nine prompts; a column is a text with a letter for each, or nothing."""
        rows = [
            DataRow(id=str(n), fields={}, columns={name: of[n].strip() or None for name, of in columns.items()})
            for n in range(9)
        ]
        return categories(rows)

    kinds = dict(zip("012345678", "aaabbbccc", strict=True))
    assert found(words="xyxyxyxyx", category="aaabbbccc") == kinds
    assert found(category="aaaaaaaaa", words="aaabbbccc") == kinds
    assert found(category="aaabbbcc ", words="aaabbbccc") == kinds
    assert found(category="abcdefghi") == found(category="aaaaaaaaa") == found() == {}


def test_pages_are_parted_before_they_are_too_large(asked: Run) -> None:
    asked.examples = 40
    asked.answer = lambda row, _seed, index: f"<{row}> " * 50 + str(index)
    found = files(asked, full=20_000)
    pages = [name for name in found if name.endswith(".html") and "index" not in name]
    assert len(pages) > 5
    ids = [re.findall(r'id="p(\d+)"', found[name]) for name in pages]
    assert [int(number) for page in ids for number in page] == list(range(1, 41))
    frame = len(re.sub(r'<div id="search".*', "", found[pages[0]], flags=re.DOTALL).encode())
    assert all(len(found[name].encode()) - frame < 20_000 for name in pages)
    assert f'href="{pages[1].rpartition("/")[2]}"' in found[pages[0]]
    for name in pages:  # what a search loads has the same prompts
        words = json.loads(found[name.replace(".html", ".js")].removeprefix("answersOf(").removesuffix(");\n"))
        assert words["page"] == name.rpartition("/")[2]
        assert [str(each[0]) for each in words["prompts"]] == re.findall(r'id="p(\d+)"', found[name])


def test_pages_that_are_no_more_are_removed(asked: Run) -> None:
    folder = asked.write()
    write_tables(asked.root, folder)
    old = folder / "answers" / "in-data-t1-9.html"
    old.write_text("old", encoding="utf-8")
    (folder / "answers" / "notes.txt").write_text("somebody's", encoding="utf-8")
    write_tables(asked.root, folder)
    assert not old.exists()
    assert (folder / "answers" / "notes.txt").exists()


def test_the_page_of_a_run_leads_to_them_where_they_are(asked: Run) -> None:
    tables = make_tables(asked.root, asked.write())
    assert 'href="answers/index.html"' in tables.files["leaderboard.html"]
    asked.root, asked.prompts = asked.root / "other", None
    tables = make_tables(asked.root, asked.write())
    assert not [name for name in tables.files if name.startswith("answers/")]
    assert "answers/index.html" not in tables.files["leaderboard.html"]


@pytest.mark.parametrize("generated", [False, True])
def test_none_are_published(asked: Run, *, generated: bool) -> None:
    def change(manifest: dict[str, Any]) -> None:
        for data in manifest["datasets"]:
            data["generated"] = generated

    asked.change = change
    folder = asked.write()
    write_tables(asked.root, folder)
    target = publish(asked.root, folder)
    texts = "".join(path.read_text(encoding="utf-8") for path in target.rglob("*") if path.is_file())
    assert not (target / "answers").exists()
    assert "question 1" not in texts
    assert "says 1" not in texts
    assert "answers/index.html" not in texts


def test_ten_thousand_hostile_texts_are_texts(run: Run) -> None:
    """Names, titles, prompts, answers and judges: the same elements as of plain ones, and nothing that is lost."""
    made = random.Random(0)
    parts = [*NASTY, "</pre>", "</script>", "<!--", "]]>", "\0", "\u2028", "{{ 7 * 7 }}", "{% raw %}", "'", '"', "&amp"]
    texts: list[str] = []

    def hostile() -> str:
        texts.append(f"{''.join(made.choices(parts, k=2))} {len(texts)} {made.choice(['</b>', '<i', ' on=x'])}")
        return texts[-1]

    wild = [Page(text) for text in pages(run, hostile)]
    assert len(texts) > 10_000
    # as long as the hostile ones: short captions stand open and long ones are folded
    sizes = enumerate(len(visible_lines(text)) for text in list(texts))

    def harmless() -> str:
        number, size = next(sizes)
        return f"{number} ".ljust(size, "x")

    plain = [Page(text) for text in pages(run, harmless)]
    for mine, other in zip(wild, plain, strict=True):
        assert (mine.open, mine.comments) == ([], [])
        assert mine.elements == other.elements
    said = {text for page in wild for text in page.said}
    # a lone surrogate is no text that a store keeps
    lost = [text for text in texts if "\ud800" not in text and visible_lines(text).strip() not in said]
    assert len(lost) < 10  # the judge's, and what is a part of a longer text


def pages(run: Run, text: Callable[[], str]) -> list[str]:
    """Return every page of a run whose texts are all made by ``text``."""
    shutil.rmtree(run.root / "store", ignore_errors=True)
    names = {name: f"{name}{text()}" for name in ("a", "b", "c", "d", "e")}
    run.rows, run.examples, run.seeds, run.decodings = ("base", "sft", *names.values()), 490, (0,), {"greedy": GREEDY}
    column = {**ROUGE_L, "name": "x", "label": text(), "unit": text()}
    run.metrics = [
        {"use": "judge", "options": {"template": text()}, "role": "judge", "headline": "x", "corpus": [],
         "columns": [column]}
    ]  # fmt: skip
    run.manifest = {"title": text()}
    run.prompts = lambda _: {"fields": {text(): text() for _ in range(6)}, "references": [text(), text()]}
    run.answer = lambda _row, _seed, _index: text()
    results = load_results(run.root, run.write())
    document = build(results)
    first = page(document.title, document.notes, document.tables, document.ending, verdict=document.verdict)
    answers = answer_files(results, document.title, full=10**9)
    return [first, *(text for name, text in answers.items() if name.endswith(".html"))]
