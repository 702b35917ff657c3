"""Rows are what their data set says, and a supervised start learns what it may."""

from __future__ import annotations

import numpy as np
import pytest

from harness.api import DataKind, Example
from harness.errors import InputError
from harness.spec.results.train import TaughtRows
from harness.stages.kinds import check_kind, with_reference
from harness.stages.taught import taught
from harness.text.encode import Answer, EncodedRow


def example(name: str, **more: object) -> Example:
    return Example(id=name, fields={"prompt": "x"}, **more)  # type: ignore[arg-type]  # whatever a case needs


GOOD: dict[DataKind, Example] = {
    "demonstrations": example("a", completion="y"),
    "preferences": example("a", chosen="y", rejected="z"),
    "unpaired_preferences": example("a", completion="y", label=False),
    "references": example("a", references=("y",)),
    "prompts": example("a"),
}


@pytest.mark.parametrize("kind", GOOD)
def test_rows_of_the_declared_kind_pass(kind: DataKind) -> None:
    check_kind([GOOD[kind]], kind, "here")


@pytest.mark.parametrize(
    ("kind", "row", "says"),
    [
        (
            "preferences",
            example("b", chosen="y"),
            "this row has no rejected answer, and the data set provides preferen",
        ),
        ("preferences", example("b", completion="y"), "has no chosen answer"),
        ("unpaired_preferences", example("b", completion="y"), "has no label"),
        ("unpaired_preferences", example("b", label=True), "has no completion"),
        ("demonstrations", example("b", completion="y", label=True), "has a label, and the data set provides demonst"),
        ("references", example("b"), "has no references"),
    ],
)
def test_a_row_of_another_kind_is_named(kind: DataKind, row: Example, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        check_kind([GOOD[kind], row], kind, "here")
    assert caught.value.where == "here, row b"


def test_a_reference_becomes_the_demonstration_of_rows_without_one() -> None:
    rows = [
        example("a", references=("one", "two")),
        example("b", references=("one",)),
        example("c", completion="own", references=("one", "two")),
    ]
    made, note = with_reference(rows, 2, "here")
    assert [row.completion for row in made] == ["two", None, "own"]
    assert [row.references for row in made] == [row.references for row in rows]
    assert note == (
        "reference 2 is the demonstration of 1 rows, which have none of their own; 1 rows have no such reference"
    )
    with pytest.raises(InputError, match="so many references, got 3; expected at most 2"):
        with_reference(rows, 3, "here")


def row(name: str, *, label: bool | None = None, **answers: list[int]) -> EncodedRow:
    encoded = {key: Answer(np.asarray(ids, dtype=np.int32), finished=True) for key, ids in answers.items()}
    return EncodedRow(id=name, prompt=np.asarray([1], dtype=np.int32), text="x", label=label, **encoded)  # type: ignore[arg-type]


def test_a_supervised_start_leaves_out_what_it_must_not_learn_and_counts_it() -> None:
    rows = [
        row("plain", completion=[5]),
        row("good", label=True, completion=[5]),
        row("bad", label=False, completion=[6]),
        row("pair", chosen=[5], rejected=[6]),
        row("same", completion=[5], chosen=[5], rejected=[6]),
        row("none"),
        row("empty", completion=[]),
    ]
    kept, counts = taught(rows, "here")
    assert [found.id for found in kept] == ["plain", "good", "pair", "same"]
    assert counts == TaughtRows(completion=2, chosen=2, undesirable=1, without=2)
    with pytest.raises(InputError, match=r"nothing to train on.*got '1 undesirable rows and 1 without an answer'"):
        taught([rows[2], rows[5]], "here")
