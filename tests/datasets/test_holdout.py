"""Rows held out of one file: by what they say alone, never by where they stand."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from hub.own import files_options
from hub.rows import write
from pydantic import ValidationError

from harness.api import Example, InputError
from harness.testing import check_dataset
from harness_plugins.datasets.files import Files, harness_register_datasets, splits_of

if TYPE_CHECKING:
    from pathlib import Path

HOLDOUT = {"test": 0.1, "validation": 0.05}
ROWS: list[dict[str, Any]] = [
    {"prompt": f"Say {n}.", "completion": f"{n}!", "n": n, "dialogue": f"d{n % 300}"} for n in range(2000)
]


def splits(source: Path, folder: Path, **options: Any) -> dict[str, list[Example]]:
    data = Files(files_options(**{"holdout": HOLDOUT, **options}))
    folder.mkdir(exist_ok=True)
    data.prepare(source, folder)
    return {split: list(data.load(folder, split)) for split in splits_of(data._options, source)}


def numbers(found: dict[str, list[Example]]) -> dict[str, set[int]]:
    return {split: {row.columns["n"] for row in rows} for split, rows in found.items()}


def test_every_row_is_in_one_split_and_the_shares_are_kept(tmp_path: Path) -> None:
    found = splits(write(tmp_path / "a.jsonl", ROWS), tmp_path / "prepared")
    assert list(found) == ["train", "validation", "test"]
    assert sum(map(len, found.values())) == len(ROWS)
    assert set().union(*numbers(found).values()) == set(range(len(ROWS)))
    assert 150 < len(found["test"]) < 250
    assert 60 < len(found["validation"]) < 140


def test_neither_order_nor_other_rows_move_a_row(tmp_path: Path) -> None:
    before = numbers(splits(write(tmp_path / "a.jsonl", ROWS), tmp_path / "one"))
    shuffled = random.Random(1).sample(ROWS, 1200)
    after = numbers(splits(write(tmp_path / "b.jsonl", shuffled), tmp_path / "two"))
    left = {row["n"] for row in shuffled}
    assert after == {split: rows & left for split, rows in before.items()}


def test_a_larger_share_keeps_what_a_smaller_one_held_out(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", ROWS)
    small = numbers(splits(source, tmp_path / "one", holdout={"test": 0.1}))
    large = numbers(splits(source, tmp_path / "two", holdout={"test": 0.2}))
    assert small["test"] < large["test"]
    assert list(small) == ["train", "test"]


def test_one_prompt_is_in_one_split_whatever_its_answers_and_its_case(tmp_path: Path) -> None:
    rows = [{"prompt": f"say  {n}. " if n % 2 else f"Say {n}.", "completion": str(k), "n": n}
            for n in range(200) for k in range(3)]  # fmt: skip
    rows += [{"prompt": f"SAY {n}.", "completion": "again", "n": n} for n in range(200)]
    found = numbers(splits(write(tmp_path / "a.jsonl", rows), tmp_path / "prepared"))
    assert not found["train"] & (found["test"] | found["validation"])
    assert not found["test"] & found["validation"]


def test_rows_of_one_group_stay_together(tmp_path: Path) -> None:
    found = splits(write(tmp_path / "a.jsonl", ROWS), tmp_path / "prepared", holdout={**HOLDOUT, "by": "dialogue"})
    groups = {split: {row.columns["dialogue"] for row in rows} for split, rows in found.items()}
    assert groups["test"]
    assert groups["validation"]
    assert sum(map(len, groups.values())) == len(set().union(*groups.values())) == 300


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": "x", "completion": "y"}, "a.jsonl:2: the field 'dialogue' is missing, got 'completion, prompt'"),
        ({"prompt": "x", "completion": "y", "dialogue": None}, "a.jsonl:2: the field 'dialogue' is null"),
        ({"prompt": "x", "completion": "y", "dialogue": ""}, "a.jsonl:2: the field 'dialogue' is empty"),
    ],
)
def test_a_row_without_its_group_is_named_or_skipped(row: dict[str, Any], says: str, tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [ROWS[0], row])
    by = {"test": 0.5, "by": "dialogue"}
    with pytest.raises(InputError) as caught:
        splits(source, tmp_path / "prepared", holdout=by)
    assert str(caught.value).startswith(f"{tmp_path}/{says}")
    data = Files(files_options(holdout=by, bad_rows="skip"))
    split = next(s for s in ("train", "test") if ROWS[0]["n"] in _of(data, tmp_path / "prepared", s))
    assert "1 of 2 rows left out as bad: a.jsonl:2" in data.notes(tmp_path / "prepared", split)[1]


def _of(data: Files, folder: Path, split: str) -> list[int]:
    try:
        return [row.columns["n"] for row in data.load(folder, split)]
    except InputError as error:
        assert error.what == f"the holdout has no row for {split}"  # noqa: PT017  # which of the two is the hash's
        return []


def test_a_split_without_a_row_says_why(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", ROWS[:3])
    with pytest.raises(InputError, match=r"the holdout has no row for test, got '3 rows'; expected a larger share"):
        splits(source, tmp_path / "prepared", holdout={"test": 1e-6})


def test_a_caption_states_the_holdout(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", ROWS)
    for by, said in ((None, "prompt"), ("dialogue", "the column 'dialogue'")):
        data = Files(files_options(holdout={**HOLDOUT, "by": by}))
        folder = tmp_path / str(by)
        folder.mkdir()
        data.prepare(source, folder)
        assert data.notes(folder, "test") == (
            f"a.jsonl: test by a holdout of train (validation 0.05, test 0.1; split by a hash of {said})",
        )


def test_splits_that_a_folder_has_are_cut_from_where_it_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    write(folder / "train.jsonl", ROWS)
    write(folder / "test.jsonl", [{**row, "prompt": f"other {row['n']}"} for row in ROWS[:5]])
    found = splits(folder, tmp_path / "prepared", holdout={"validation": 0.05})
    assert list(found) == ["train", "test", "validation"]
    assert len(found["test"]) == 5
    assert len(found["train"]) + len(found["validation"]) == len(ROWS)
    with pytest.raises(InputError, match=r"files: the split 'test' is here, and holdout would make another"):
        splits(folder, tmp_path / "prepared", holdout={"test": 0.05})
    with pytest.raises(InputError, match=r"no split to hold rows out of, got 'tarin'.*did you mean 'train'"):
        splits(folder, tmp_path / "prepared", holdout={"validation": 0.05, "of": "tarin"})


def test_a_split_that_nothing_is_held_out_for(tmp_path: Path) -> None:
    data = Files(files_options(holdout={"test": 0.1}))
    data.prepare(write(tmp_path / "a.jsonl", ROWS), tmp_path)
    with pytest.raises(InputError, match=r"a\.jsonl: no such split, got 'validation'; expected one of train, test"):
        data.load(tmp_path, "validation")


def test_the_contract_holds(tmp_path: Path) -> None:
    (registration,) = harness_register_datasets()
    check_dataset(registration, tmp_path / "work", {"holdout": HOLDOUT}, write(tmp_path / "a.jsonl", ROWS[:200]))


@pytest.mark.parametrize(
    ("holdout", "says"),
    [
        ({}, "nothing is held out: give test, validation or both"),
        ({"test": 0.6, "validation": 0.4}, "test and validation are 1 together: no row is left"),
        ({"test": 0.9, "validation": 0.4}, r"test and validation are 1\.3 together"),
        ({"test": 1.0}, "less than 1"),
        ({"test": -0.1}, "greater than or equal to 0"),
        ({"test": 0.1, "of": "test"}, "of: test is what is taken from, and a split that is held out"),
        ({"test": 0.1, "column": "a"}, "Extra inputs are not permitted"),
    ],
)
def test_holdouts_that_cannot_be(holdout: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        files_options(holdout=holdout)
