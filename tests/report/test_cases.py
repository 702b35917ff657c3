"""Case studies show every row's answer as it is, and stay at home where the data are real."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from markdown_it import MarkdownIt
from report.synthetic import GREEDY, T1, Run
from report.test_forms import NASTY
from report.test_html import Page

from harness.report.cases import _fenced, case_studies
from harness.report.publish import publish
from harness.report.results import load_results
from harness.report.write import write_tables

if TYPE_CHECKING:
    from pathlib import Path

FORMS = ("cases.html", "cases.json", "cases.md")


def prompt(index: int) -> dict[str, Any]:
    return {
        "fields": {"instruction": f"question {index}", "context": ""},
        "completion": f"truth {index}",
        "references": [f"truth {index}", f"other {index}"],
        "columns": {},
    }


@pytest.fixture
def study(run: Run) -> Run:
    run.tables = ("scores", "cases")
    run.decodings = {"t1": T1, "greedy": GREEDY}
    run.prompts = prompt
    run.answer = lambda row, seed, index: f"{row} says {index} in seed {seed}"
    choose(run, count=2)
    return run


def choose(run: Run, *, generated: bool = False, **chosen: Any) -> None:
    def change(manifest: dict[str, Any]) -> None:
        told: dict[str, Any] = {"dataset": "in-data", "decoding": "greedy", "count": None, "ids": []}
        manifest["config"]["cases"] = {**told, **chosen}
        for data in manifest["datasets"]:
            data["generated"] = generated

    run.change = change


def written(run: Run) -> tuple[Path, dict[str, Any]]:
    folder = run.write()
    write_tables(run.root, folder)
    return folder, json.loads((folder / "cases.json").read_text(encoding="utf-8"))


def test_every_row_answers_the_chosen_prompts(study: Run) -> None:
    _, found = written(study)
    assert [case["id"] for case in found["cases"]] == ["0", "1"]
    assert found["cases"][1]["prompt"] == {"instruction": "question 1"}
    assert found["cases"][1]["answers"] == [
        {"name": "reference", "text": "truth 1"},
        {"name": "reference 2", "text": "other 1"},
        *({"name": row, "text": f"{row} says 1 in seed 0"} for row in study.rows),
    ]
    assert "greedy: the most probable token each time, at most 24 tokens." in found["notes"]


def test_prompts_are_chosen_by_their_ids(study: Run) -> None:
    choose(study, ids=["7", "gone", "3"])
    _, found = written(study)
    assert [case["id"] for case in found["cases"]] == ["7", "3"]
    assert found["notes"][0] == "No row of in-data has the id gone."


def test_preferences_stand_beside(study: Run) -> None:
    study.prompts = lambda index: {
        **prompt(index),
        "completion": "good",
        "chosen": "good",
        "rejected": "bad",
        "references": ["good"],
    }
    _, found = written(study)
    assert [answer["name"] for answer in found["cases"][0]["answers"][:2]] == ["reference", "rejected"]


def test_an_undesirable_completion_is_no_reference(study: Run) -> None:
    study.prompts = lambda index: {**prompt(index), "completion": "bad", "label": index > 0, "references": []}
    _, found = written(study)
    given = [case["answers"][: len(case["answers"]) - len(study.rows)] for case in found["cases"]]
    assert given == [[], [{"name": "reference", "text": "bad"}]]


def test_what_has_no_answer_says_why(study: Run) -> None:
    study.unfinished = {("eso", "train", "0")}
    _, found = written(study)
    assert found["cases"][0]["answers"][-1] == {"name": "eso", "status": "failed"}


def test_rows_that_are_gone_are_said_to_be(study: Run) -> None:
    folder = study.write()
    (study.root / "store" / "prepare").rename(study.root / "gone")
    found = case_studies(load_results(study.root, folder))
    assert found is not None
    assert (found.cases, found.notes) == ((), ("in-data: its rows are not stored.",))


def test_all_forms_say_the_same(study: Run) -> None:
    folder, found = written(study)
    texts = {form: (folder / form).read_text(encoding="utf-8") for form in FORMS}
    for case in found["cases"]:
        for answer in case["answers"]:
            for form in FORMS:
                assert answer["text"] in texts[form]


@pytest.mark.parametrize(
    "text", [*NASTY, "```\n# escaped\n```", "</pre><script>alert(1)</script>", "{{ 7 * 7 }}", "a\r\nb"]
)
def test_hostile_answers_are_texts(run: Run, text: str) -> None:
    run.tables, run.prompts, run.rows, run.examples, run.seeds = ("cases",), prompt, ("sft",), 1, (0,)
    run.answer = lambda _row, _seed, _index: text
    choose(run, count=1, decoding="t1")
    folder, found = written(run)
    assert found["cases"][0]["answers"][-1]["text"] == text
    page = Page((folder / "cases.html").read_text(encoding="utf-8"))
    assert page.tags <= {
        "html", "head", "meta", "title", "style", "script", "body", "header", "main", "h1", "p", "section", "h2", "h3",
        "div", "pre", "a",
    }  # fmt: skip
    assert {name for name, _ in page.attributes} <= {
        "lang", "charset", "http-equiv", "content", "name", "class", "href", "id",
    }  # fmt: skip
    tokens = MarkdownIt("commonmark").parse((folder / "cases.md").read_text(encoding="utf-8"))
    assert {token.type for token in tokens} <= {
        "heading_open", "heading_close", "inline", "paragraph_open", "paragraph_close", "fence",
    }  # fmt: skip
    assert len([token for token in tokens if token.type == "fence"]) == 4


def test_a_fence_is_longer_than_any_in_the_text() -> None:
    assert _fenced("a ```` b").startswith("`````text\n")
    assert re.fullmatch(r"```text\nplain\n```", _fenced("plain"))


@pytest.mark.parametrize("generated", [False, True])
def test_only_generated_data_are_published(study: Run, *, generated: bool) -> None:
    choose(study, count=1, generated=generated)
    folder = study.write()
    write_tables(study.root, folder)
    target = publish(study.root, folder)
    assert [form for form in FORMS if (target / form).exists()] == (list(FORMS) if generated else [])
    if not generated:
        assert "question 0" not in "".join(path.read_text(encoding="utf-8") for path in target.glob("*.*"))


def test_none_are_written_where_none_are_asked_for(study: Run) -> None:
    study.tables = ("scores",)
    folder = study.write()
    write_tables(study.root, folder)
    assert not (folder / "cases.json").exists()
    study.tables, study.change = ("cases",), lambda _: None
    write_tables(study.root, study.write())
    assert not (folder / "cases.json").exists()
