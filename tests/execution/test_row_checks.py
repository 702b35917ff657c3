"""What must not be trained on is noticed once the rows are prepared."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from stages.datasets import example, prepared

from harness.api import Example
from harness.errors import InputError
from harness.execution.row_checks import check_groups, check_overlap, check_pairs, check_taught, folded_prompt

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.store.records import Record


@pytest.fixture
def prepare(tmp_path: Path) -> Callable[..., Record]:
    return functools.partial(prepared, tmp_path)


def test_prompts_of_the_test_in_the_training_rows_are_refused(prepare: Callable[..., Record]) -> None:
    train = prepare([example("t1", "What  is IT?"), example("t2", "Other")])
    fine = prepare([example("e1", "What is it not?")], identity={"version": 2})
    check_overlap(train, {"fine": fine})
    folded = prepare(
        [example("e1", "New"), example("e2", " what is it? "), example("e3", "OTHER")], identity={"version": 3}
    )
    with pytest.raises(InputError, match="2 prompts of 'test' are in the training rows too") as caught:
        check_overlap(train, {"fine": fine, "test": folded})
    assert "training row t1 = test row e2" in str(caught.value)


def test_groups_need_their_column_in_every_row(prepare: Callable[..., Record]) -> None:
    first, second = (example(name, f"Say {name}", columns={"template": name}) for name in "ab")
    check_groups(prepare([first, second]), "template")
    check_groups(prepare([first, second]), "instruction")  # a field of the prompt will do
    with pytest.raises(InputError, match=r"row c: this row has no 'template' to group prompts by") as caught:
        check_groups(
            prepare([first, example("c", "Three", columns={"templates": "c"})], identity={"version": 2}), "template"
        )
    assert "did you mean 'templates'?" in str(caught.value)


@pytest.mark.parametrize(
    ("sides", "text"),
    [
        ({"chosen": "yes"}, "has no rejected answer"),
        ({"rejected": "no"}, "has no chosen answer"),
        ({}, "has no chosen and no rejected answer"),
    ],
)
def test_preferences_need_both_answers(prepare: Callable[..., Record], sides: dict[str, Any], text: str) -> None:
    whole = replace(example("a", "One"), chosen="yes", rejected="no")
    check_pairs(prepare([whole]))
    with pytest.raises(InputError, match=f"row b: this row {text}, and preferences need both"):
        check_pairs(prepare([whole, replace(example("b", "Two"), **sides)], identity={"version": 2}))


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        ({"instruction": "Do", "context": "this"}, {"instruction": "DO", "context": " this\n"}, True),
        ({"instruction": "Do", "context": ""}, {"instruction": "Do"}, True),
        ({"instruction": "Do", "context": "this"}, {"instruction": "Do", "context": "that"}, False),
        ({"instruction": "Do", "context": "this"}, {"instruction": "Do this", "context": ""}, False),
    ],
)
def test_the_whole_prompt_counts(one: dict[str, str], two: dict[str, str], same: bool) -> None:  # noqa: FBT001  # a case
    assert (folded_prompt(one) == folded_prompt(two)) is same


def bare(name: str, **more: Any) -> Example:
    """Return a row that has a prompt, and what it is given."""
    return Example(id=name, fields={"prompt": "x"}, **more)


def test_rows_without_a_single_demonstration_are_refused() -> None:
    check_taught([bare("a"), bare("b", chosen="y", rejected="z")], "here")
    with pytest.raises(InputError, match="nothing to train on: no row has a demonstration, got '1 rows without a com"):
        check_taught([bare("a")], "here")
    with pytest.raises(InputError, match=r"train_on_reference: 1 trains on the first reference: 1 rows have one"):
        check_taught([bare("a", references=("y",))], "here")
    with pytest.raises(InputError, match="got '2 rows marked as undesirable'"):
        check_taught([bare("a", completion="y", label=False), bare("b", completion="y", label=False)], "here")
