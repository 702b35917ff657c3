"""Generated tasks: the same for ever, right where they are compared with, and fallible by exactly one mistake."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.api import Example, InputError
from harness_plugins.datasets.generated_addition import AdditionOptions
from harness_plugins.datasets.generated_second_largest import SecondLargestOptions
from harness_plugins.datasets.generated_tasks.tasks import Addition, SecondLargest, without_carries

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness_plugins.datasets.generated_tasks.task import GeneratedTask

SPLITS = ("train", "validation", "test")
NOWHERE = Path("nothing is read here")


def addition(**options: Any) -> Addition:
    return Addition(AdditionOptions(**{"questions": 1000, **options}))


def second_largest(**options: Any) -> SecondLargest:
    return SecondLargest(SecondLargestOptions(**{"questions": 1000, **options}))


def rows(task: GeneratedTask, split: str) -> list[Example]:
    return list(task.load(NOWHERE, split))


def digest(examples: Iterable[Example]) -> str:
    state = hashlib.sha256()
    for row in examples:
        state.update(repr((row.id, sorted(row.fields.items()), row.completion, sorted(row.columns.items()))).encode())
    return state.hexdigest()[:16]


def slipped(row: Example) -> str:
    """The mistake, told here once more: digit by digit, and the first of the sorted."""
    if "numbers" in row.fields:
        return str(max(int(number) for number in row.fields["numbers"].split(", ")))
    left, right = (row.fields[name].zfill(2)[::-1] for name in ("left", "right"))
    return str(int("".join(str((int(a) + int(b)) % 10) for a, b in zip(left, right, strict=True))[::-1]))


def right(row: Example) -> str:
    if "numbers" in row.fields:
        return str(sorted(int(number) for number in row.fields["numbers"].split(", "))[2])
    return str(int(row.fields["left"]) + int(row.fields["right"]))


TASKS = pytest.mark.parametrize("make", [addition, second_largest])


@TASKS
def test_what_is_compared_with_is_right_and_a_slip_is_the_one_mistake(make: Any) -> None:
    for split in SPLITS:
        for row in rows(make(slips=0.5), split):
            assert row.columns["answer"] == row.references[0] == right(row)
            assert row.completion == (slipped(row) if row.columns["slip"] else right(row))
            assert split == "train" or not row.columns["slip"]


@TASKS
@pytest.mark.parametrize("slips", [0.0, 0.3, 1.0])
def test_the_share_that_slips_is_the_one_asked_for_and_is_stated(make: Any, slips: float) -> None:
    task = make(slips=slips)
    train = rows(task, "train")
    share = sum(row.columns["slip"] for row in train) / len(train)
    spread = (slips * (1 - slips) / len(train)) ** 0.5
    assert abs(share - slips) <= 4 * spread
    (note,) = task.notes(NOWHERE, "train")
    wrong = sum(row.completion != row.columns["answer"] for row in train) / len(train)
    if slips:
        assert f"in {share:.1%} the demonstrator" in note
        assert f"{wrong:.1%} of all wrong" in note
        assert ("leaves out the carries" in note) is (make is addition)
    else:
        assert note == "every answer of train is right"
        assert wrong == 0
    assert task.notes(NOWHERE, "test") == ["every answer of test is right"]


@TASKS
def test_no_question_is_in_two_splits_in_whatever_order(make: Any) -> None:
    def about(row: Example) -> tuple[str, ...]:
        said = row.fields.get("numbers")
        return tuple(sorted(said.split(", ") if said else (row.fields["left"], row.fields["right"])))

    found = {split: rows(make(), split) for split in SPLITS}
    texts = Counter(row.fields["instruction"] for part in found.values() for row in part)
    assert set(texts.values()) == {1}
    keys = {split: {about(row) for row in part} for split, part in found.items()}
    assert not keys["train"] & (keys["validation"] | keys["test"])
    assert not keys["validation"] & keys["test"]
    assert len(found["train"]) > 7 * len(found["test"]) > 0


@TASKS
def test_slips_change_nothing_but_demonstrations(make: Any) -> None:
    clean, fallible = ([(row.id, row.columns["answer"]) for row in rows(make(slips=s), "train")] for s in (0.0, 0.5))
    assert clean == fallible
    few, many = ({row.id for row in rows(make(slips=slips), "train") if row.columns["slip"]} for slips in (0.2, 0.6))
    assert few < many


@TASKS
def test_the_majority_answer_is_that_of_the_demonstrations(make: Any) -> None:
    task = make(slips=0.5)
    counts = Counter(row.completion for row in rows(task, "train"))
    (said,) = {row.columns["majority_answer"] for split in SPLITS for row in rows(task, split)}
    assert counts[said] == max(counts.values())


def test_the_rows_are_those_of_this_version() -> None:
    """A change here changes what scores on this data mean: raise VERSION with it."""
    found = {task.NAME: (task.VERSION, digest(rows(task, "train"))) for task in (addition(), second_largest())}
    assert found == {
        "generated-addition": (1, "687547a01cbcac55"),
        "generated-second-largest": (1, "68140cba8600b1e8"),
    }


def test_padded_answers_are_equally_long() -> None:
    for row in rows(addition(padded=True, slips=0.5), "train"):
        assert len(row.completion or "") == len(row.columns["answer"]) == 3
        assert len(row.fields["left"]) == len(row.fields["right"]) == 2
        assert int(row.columns["answer"]) == int(row.fields["left"]) + int(row.fields["right"])


def test_sums_of_many_digits_are_drawn() -> None:
    task = addition(digits=6, questions=300)
    found = [row for split in SPLITS for row in rows(task, split)]
    assert len(found) == 300
    assert max(len(row.fields["left"]) for row in found) == 6
    assert all(right(row) == row.columns["answer"] for row in found)
    assert sum(len(rows(addition(digits=1), split)) for split in SPLITS) == 100  # there are no more


@pytest.mark.parametrize(("a", "b", "expected"), [(47, 58, 95), (5, 5, 0), (99, 1, 90), (0, 0, 0), (123, 4, 127)])
def test_without_carries(a: int, b: int, expected: int) -> None:
    assert without_carries(a, b) == without_carries(b, a) == expected


def test_a_seed_settles_the_rows() -> None:
    assert digest(rows(second_largest(seed=1), "test")) != digest(rows(second_largest(), "test"))
    assert [row.id for row in rows(addition(seed=1), "train")] != [row.id for row in rows(addition(), "train")]
    assert addition().identity(None) != addition(slips=0.5).identity(None)


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match="made by code and reads no file"):
        addition().prepare(NOWHERE, NOWHERE)
    with pytest.raises(InputError, match="no such split, got 'dev'"):
        addition().load(NOWHERE, "dev")
