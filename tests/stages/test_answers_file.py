"""Files of answers from elsewhere: what a line may say, which row it is about, and every way to get it wrong."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from harness.api import Example
from harness.errors import InputError
from harness.spec.model import Template
from harness.stages.answers import matched
from harness.stages.answers_file import Known, about, check_names, digest_of, read_answers

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KNOWN = Known(("tales", "jokes"), ("t1", "greedy"), (3, 4))
TEMPLATE = Template(text="Q: {question}\nA:")
ROWS = [Example(str(n), {"question": f"What is {n}?"}) for n in range(3)]


def write(folder: Path, *lines: Any) -> Path:
    path = folder / "answers.jsonl"
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines), "utf-8")
    return path


def answered(path: Path, *, partial: bool = False) -> tuple[Mapping[str, Any], int]:
    return matched(read_answers(path), ROWS, TEMPLATE, path, partial=partial)


def test_rows_are_named_by_id_or_by_their_prompt(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {"id": 2, "answers": ["two", "zwei"], "other": [1]},
        "",
        {"prompt": "Q: What is 0?\nA:", "answers": ["nought", "null\u2028"], "finished": False},
        {"prompt": "What is 1?", "answers": ["one", "eins"]},
    )
    by_id, left_out = answered(path)
    assert {name: (line.line, line.texts, line.finished) for name, line in by_id.items()} == {
        "2": (1, ("two", "zwei"), True),
        "0": (3, ("nought", "null\u2028"), False),
        "1": (4, ("one", "eins"), True),
    }
    assert left_out == 0


def test_lines_belong_to_what_they_name_or_to_the_first(tmp_path: Path) -> None:
    lines = read_answers(
        write(
            tmp_path,
            {"id": "a", "answer": "x", "dataset": "tales"},
            {"id": "a", "answer": "y", "dataset": "tales", "decoding": "greedy", "seed": 4},
            {"id": "a", "answer": "z", "dataset": "jokes", "seed": 9},
        )
    )
    places = {
        place: [line.texts[0] for line in about(lines, KNOWN, *place)]
        for place in (("tales", "t1", 3), ("tales", "t1", 4), ("tales", "greedy", 4), ("jokes", "t1", 3))
    }
    assert places == {
        ("tales", "t1", 3): ["x"],
        ("tales", "t1", 4): [],
        ("tales", "greedy", 4): ["y"],
        ("jokes", "t1", 3): [],
    }


def test_the_digest_is_that_of_what_is_said(tmp_path: Path) -> None:
    def of(*lines: Any) -> str:
        return digest_of(read_answers(write(tmp_path, *lines)))

    one = of({"id": "a", "answer": "x"})
    assert of("", {"answers": ["x"], "id": "a", "note": "moved"}) == one
    assert of({"id": "a", "answer": "y"}) != one
    assert of({"id": "a", "answer": "x", "finished": False}) != one


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "answers.jsonl: has no answers"),
        (["{"], "answers.jsonl:1: is not JSON"),
        (["[1]"], "answers.jsonl:1: is not a JSON object, got 'list'"),
        ([{"id": "0", "answer": "x"}, {"answer": "x"}], "answers.jsonl:2: has neither id nor prompt, got 'answer'"),
        (
            [{"id": "0", "anser": "x"}],
            "has neither answer nor answers, got 'id, anser'; expected one of the two; did you",
        ),
        ([{"id": "0", "answer": "x", "answers": ["y"]}], "has both answer and answers"),
        ([{"id": "0", "prompt": "p", "answer": "x"}], "has both id and prompt"),
        ([{"id": [0], "answer": "x"}], "id is wrong, got [0]; expected text"),
        ([{"id": "0", "answer": 5}], "answers is not a list of texts, got [5]"),
        ([{"id": "0", "answers": []}], "answers is not a list of texts, got []"),
        ([{"id": "0", "answers": "x"}], "answers is not a list of texts, got 'x'"),
        ([{"id": "0", "answer": "x", "seed": True}], "seed is wrong, got True; expected a whole number"),
        ([{"id": "0", "answer": "x", "finished": "no"}], "finished is wrong, got 'no'; expected true or false"),
    ],
)
def test_lines_that_are_wrong(tmp_path: Path, lines: list[Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        read_answers(write(tmp_path, *lines))
    assert said in str(caught.value)


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.jsonl: cannot be read: No such file"):
        read_answers(tmp_path / "gone.jsonl")
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"bytes\.jsonl: cannot be read"):
        read_answers(tmp_path / "bytes.jsonl")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({}, "answers.jsonl:1: does not say which data set it answers; expected dataset: one of tales, jokes"),
        ({"dataset": "tale"}, "the benchmark has no data set of this name, got 'tale'; expected one of tales, jokes"),
        (
            {"dataset": "jokes", "decoding": "gredy"},
            "no decoding of this name, got 'gredy'; expected one of t1, greedy",
        ),
    ],
)
def test_names_that_the_benchmark_has_not_got(tmp_path: Path, line: dict[str, Any], said: str) -> None:
    path = write(tmp_path, {"id": "0", "answer": "x", **line})
    with pytest.raises(InputError) as caught:
        check_names(read_answers(path), KNOWN, path)
    assert said in str(caught.value)


def every(**more: Any) -> list[dict[str, Any]]:
    return [{"id": str(n), "answer": "x", **more} for n in range(3)]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (every()[:1], "answers.jsonl: has no answer to 2 of 3 rows (1, 2)"),
        ([*every(), {"id": "1", "answer": "y"}], "answers.jsonl:4: a second answer to row '1' (the first: line 2)"),
        (
            [*every(), {"id": "7", "answer": "y"}],
            "answers.jsonl:4: answers a row that the data set has not got, got \"'7'",
        ),
        ([*every(), {"prompt": "Who?", "answer": "y"}], "answers a row that the data set has not got, got \"'Who?'"),
        (
            [*every()[:2], {"id": "2", "answers": ["x", "y"]}],
            "line 1 has 1 answers and line 3 has 2; expected as many dr",
        ),
        ([{"prompt": "What is 0?", "answer": "x"}, *every()], "a second answer to row '0' (the first: line 1)"),
    ],
)
def test_answers_that_do_not_fit_the_rows(tmp_path: Path, lines: list[Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        answered(write(tmp_path, *lines))
    assert said in str(caught.value)


def test_rows_beyond_a_limit_may_be_answered_too(tmp_path: Path) -> None:
    path = write(tmp_path, *every(), {"id": "7", "answer": "y"}, {"prompt": "Who?", "answer": "y"})
    by_id, left_out = answered(path, partial=True)
    assert sorted(by_id) == ["0", "1", "2"]
    assert left_out == 2


def test_a_prompt_that_several_rows_have(tmp_path: Path) -> None:
    twins = [Example("a", {"question": "Why?"}), Example("b", {"question": "Why?"})]
    path = write(tmp_path, {"prompt": "Why?", "answer": "x"})
    with pytest.raises(InputError, match=r"answers.jsonl:1: 2 rows have this prompt \(a, b\); expected id of the row"):
        matched(read_answers(path), twins, TEMPLATE, path, partial=False)
