"""Vicuna's questions: real counts for every reference, both forms of the files, and what broken ones say."""

from __future__ import annotations

import gzip
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hub.rows import vicuna_folder, write

from harness.api import Example, InputError
from harness.testing import check_dataset
from harness_plugins.datasets.vicuna import Vicuna, VicunaOptions, harness_register_datasets

if TYPE_CHECKING:
    from pathlib import Path


def read(source: Path, folder: Path, reference: Any = "gpt35") -> list[Example]:
    data = Vicuna(VicunaOptions(reference=reference))
    data.prepare(source, folder)
    return list(data.load(folder, "test"))


@pytest.mark.parametrize("reference", ["gpt35", "gpt4", "bard", "vicuna-13b"])
def test_the_real_files(reference: str, real_data: Path, tmp_path: Path) -> None:
    rows = read(real_data / "vicuna", tmp_path, reference)
    assert [row.id for row in rows] == [f"vicuna-{number:02}" for number in range(1, 81)]
    assert len({row.fields["instruction"] for row in rows}) == 80
    counts = Counter(row.columns["category"] for row in rows)
    assert (len(counts), counts["coding"], counts["math"], counts["writing"]) == (9, 7, 3, 10)
    assert len({row.references for row in rows}) == 80
    assert all(row.fields["context"] == "" for row in rows)


def test_the_references_differ(real_data: Path, tmp_path: Path) -> None:
    one, other = (read(real_data / "vicuna", tmp_path, name) for name in ("gpt35", "gpt4"))
    assert [row.fields for row in one] == [row.fields for row in other]
    assert all(a.references != b.references for a, b in zip(one, other, strict=True))
    files = [Vicuna(VicunaOptions(reference=name)).identity(real_data / "vicuna") for name in ("gpt35", "gpt4")]
    assert files[0]["question.jsonl"] == files[1]["question.jsonl"]
    assert files[0]["answers.jsonl"] != files[1]["answers.jsonl"]


def test_the_later_form_has_the_same_questions(real_data: Path, tmp_path: Path) -> None:
    later = tmp_path / "later"
    later.mkdir()
    for name, target in (("question_llm_judge", "question"), ("answer_gpt35", "answer_gpt35")):
        (later / f"{target}.jsonl").write_bytes((real_data / "vicuna" / f"{name}.jsonl").read_bytes())
    first = read(real_data / "vicuna", tmp_path)
    assert [row.fields for row in read(later, tmp_path)] == [row.fields for row in first]


def test_the_contract(tmp_path: Path) -> None:
    folder = vicuna_folder(tmp_path / "files")
    (registration,) = harness_register_datasets()
    check_dataset(registration, tmp_path / "work", source=folder)


def test_gzip_the_question_file_itself_and_a_folder_of_answers(tmp_path: Path) -> None:
    folder = vicuna_folder(tmp_path / "files")
    rows, identity = read(folder, tmp_path), Vicuna(VicunaOptions()).identity(folder)
    assert read(folder / "question.jsonl", tmp_path) == rows
    questions, answers = folder / "question.jsonl", folder / "answer_gpt35.jsonl"
    (folder / "question.jsonl.gz").write_bytes(gzip.compress(questions.read_bytes()))
    (folder / "answer").mkdir()
    answers.rename(folder / "answer" / answers.name)
    questions.unlink()
    assert read(folder, tmp_path) == rows
    assert Vicuna(VicunaOptions()).identity(folder) == identity


def test_answers_in_the_judges_form(tmp_path: Path) -> None:
    folder = vicuna_folder(tmp_path / "files", range(1, 3))
    plain = read(folder, tmp_path)
    turns = [{"question_id": n, "choices": [{"index": 0, "turns": [f"It is {n + 1}.", "And so on."]}]} for n in (1, 2)]
    write(folder / "answer_gpt35.jsonl", turns)
    assert read(folder, tmp_path) == plain


@pytest.mark.parametrize(
    ("name", "line", "says"),
    [
        ("question", '{"question_id": 6', "question.jsonl:6: broken JSON"),
        ("question", {"text": "x", "category": "y"}, "question.jsonl:6: the field 'question_id' is missing"),
        (
            "question",
            {"question_id": "6", "text": "x"},
            "question.jsonl:6: the field 'question_id' is not a whole number",
        ),
        ("question", {"question_id": 6, "text": "x"}, "question.jsonl:6: question 6 has no answer of gpt35"),
        ("question", {"question_id": 2, "text": "x"}, "question.jsonl:6: question 2 is here twice, first in"),
        ("answer_gpt35", {"question_id": 6}, "answer_gpt35.jsonl:6: the field 'text' is missing"),
        ("answer_gpt35", {"question_id": 6, "choices": []}, "answer_gpt35.jsonl:6: the field 'text' is missing"),
        ("answer_gpt35", {"question_id": 6, "text": " "}, "answer_gpt35.jsonl:6: the field 'text' is blank"),
        ("answer_gpt35", {"question_id": 1, "text": "x"}, "answer_gpt35.jsonl:6: question 1 is here twice, first in"),
    ],
)
def test_a_broken_line_is_named(name: str, line: Any, says: str, tmp_path: Path) -> None:
    folder = vicuna_folder(tmp_path / "files")
    path = folder / f"{name}.jsonl"
    added = [*path.read_text("utf-8").splitlines(), line]
    if name == "answer_gpt35":
        question = {"question_id": 6, "text": "x", "category": "y"}
        write(folder / "question.jsonl", [*(folder / "question.jsonl").read_text("utf-8").splitlines(), question])
    write(path, added)
    with pytest.raises(InputError) as caught:
        read(folder, tmp_path)
    assert str(caught.value).startswith(f"{folder}/{says}")


def test_missing_files_are_named(tmp_path: Path) -> None:
    folder = vicuna_folder(tmp_path / "files")
    with pytest.raises(
        InputError, match=r"got 'answer_gpt35.jsonl, question.jsonl'; expected answer_gpt4.jsonl\[.gz\]"
    ):
        Vicuna(VicunaOptions(reference="gpt4")).identity(folder)
    (folder / "question.jsonl").unlink()
    with pytest.raises(InputError, match=r"expected question.jsonl\[.gz\]"):
        read(folder, tmp_path)
    with pytest.raises(InputError, match="no such file or folder"):
        read(tmp_path / "nowhere", tmp_path)


def test_it_is_for_evaluation_only(tmp_path: Path) -> None:
    data = Vicuna(VicunaOptions())
    data.prepare(vicuna_folder(tmp_path / "files"), tmp_path)
    with pytest.raises(InputError, match="one split, got 'train'; expected test"):
        list(data.load(tmp_path, "train"))
