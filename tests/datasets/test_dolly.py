"""Dolly: real counts, a split that repeats cannot cross, and what a broken file says."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hub.rows import dolly_row, write

from harness.api import Example, InputError
from harness.testing import check_dataset
from harness_plugins.datasets.dolly import Dolly, DollyOptions, harness_register_datasets
from harness_plugins.upstream.lines import fold

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SPLITS = ("train", "validation", "test")


def splits(source: Path, folder: Path) -> dict[str, list[Example]]:
    data = Dolly(DollyOptions())
    data.prepare(source, folder)
    return {split: list(data.load(folder, split)) for split in SPLITS}


def instructions(rows: Sequence[Example]) -> set[str]:
    return {fold(row.fields["instruction"]) for row in rows}


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    """Return 1,700 rows, 100 of which repeat the instruction of another one in other words' case and space."""
    rows = [dolly_row(number) for number in range(1600)]
    again = [(number, f"  what IS {number}\n and one? ") for number in range(0, 1600, 16)]
    rows.extend(dolly_row(number, instruction=text, response="Again.") for number, text in again)
    random.Random(0).shuffle(rows)
    return rows


@pytest.fixture(scope="module")
def real(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Example]]:
    return splits(real_data / "dolly" / "databricks-dolly-15k.jsonl.gz", tmp_path_factory.mktemp("dolly"))


def test_the_real_file(real: dict[str, list[Example]]) -> None:
    assert {split: len(rows) for split, rows in real.items()} == {"train": 13_495, "validation": 500, "test": 1000}
    folded = {split: instructions(rows) for split, rows in real.items()}
    assert not folded["train"] & (folded["validation"] | folded["test"])
    assert not folded["validation"] & folded["test"]
    assert sum(len(part) for part in folded.values()) == 15_011 - 250  # every instruction, in one split
    assert len(folded["test"]) == 1000  # no prompt twice
    assert Counter(row.columns["category"] for row in real["test"]) == {
        "open_qa": 228, "general_qa": 158, "classification": 152, "brainstorming": 113, "closed_qa": 106,
        "information_extraction": 106, "summarization": 88, "creative_writing": 49,
    }  # fmt: skip
    # which rows are held out is part of what published scores mean
    held = hashlib.sha256(" ".join(row.id for row in real["test"]).encode()).hexdigest()
    assert held == "8f4ee48550c087fefb4736fad809c83403fdd605b1ca844ed0cb03d751d2dec9"


def test_a_real_row(real: dict[str, list[Example]]) -> None:
    row = next(row for part in real.values() for row in part if row.id == "dolly-00002")
    assert row.fields == {"instruction": "Which is a species of fish? Tope or Rope", "context": ""}
    assert (row.completion, row.references, row.columns) == ("Tope", ("Tope",), {"category": "classification"})


def test_repeated_instructions_stay_together(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    found = splits(write(tmp_path / "d.jsonl", rows), tmp_path)
    folded = {split: instructions(part) for split, part in found.items()}
    assert (len(found["test"]), len(folded["test"]), len(found["validation"])) == (1000, 1000, 500)
    assert not folded["train"] & (folded["validation"] | folded["test"])
    assert not folded["validation"] & folded["test"]
    assert set.union(*folded.values()) == {fold(row["instruction"]) for row in rows}
    repeats = Counter(fold(row["instruction"]) for row in rows)
    assert len(found["train"]) == sum(repeats[instruction] for instruction in folded["train"])
    ids = [row.id for part in found.values() for row in part]
    assert len(ids) == len(set(ids))


def test_the_split_does_not_depend_on_the_order(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    one = splits(write(tmp_path / "1.jsonl", rows), tmp_path)
    other = splits(write(tmp_path / "2.jsonl.gz", rows[::-1]), tmp_path)
    for split in SPLITS:
        assert instructions(one[split]) == instructions(other[split])


def test_the_contract(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    source = write(tmp_path / "databricks-dolly-15k.jsonl.gz", rows)
    (registration,) = harness_register_datasets()
    assert Dolly(DollyOptions()).identity(source) == Dolly(DollyOptions()).identity(tmp_path)
    check_dataset(registration, tmp_path / "work", source=tmp_path)  # the folder that has it


def test_another_file_is_said_to_be_another(rows: list[dict[str, Any]], real_data: Path, tmp_path: Path) -> None:
    data = Dolly(DollyOptions())
    mine = data.prepare(write(tmp_path / "d.jsonl", rows), tmp_path)
    assert mine.origin == "file"
    assert any("another file" in note for note in mine.notes)
    assert not any(str(tmp_path) in note for note in mine.notes)
    assert not any("another file" in note for note in data.prepare(real_data / "dolly", tmp_path).notes)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"instruction": "x", ', "d.jsonl:41: broken JSON"),
        (dolly_row(0, instruction=" "), "d.jsonl:41: the field 'instruction' is blank"),
        (dolly_row(0, response=None), "d.jsonl:41: the field 'response' is not a text, got 'null'"),
        (dolly_row(0, context=["a"]), "d.jsonl:41: the field 'context' is not a text, got 'list'"),
        ({"instruction": "x", "output": "y"}, "d.jsonl:41: the field 'response' is missing"),
        ({**dolly_row(0), "category": ""}, "d.jsonl:41: the field 'category' is blank"),
    ],
)
def test_a_broken_line_is_named(line: Any, says: str, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    source = write(tmp_path / "d.jsonl", [*rows[:40], line, *rows[40:]])
    with pytest.raises(InputError) as caught:
        splits(source, tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}/{says}")


def test_a_missing_context_is_no_empty_one(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    del rows[7]["context"]
    with pytest.raises(InputError, match=r"d\.jsonl:8: the field 'context' is missing"):
        splits(write(tmp_path / "d.jsonl", rows), tmp_path)


def test_too_few_rows(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    source = write(tmp_path / "d.jsonl", rows[:1200])
    with pytest.raises(InputError, match=r"d\.jsonl: too few distinct instructions to split.*(?s:.*)`files`"):
        splits(source, tmp_path)


def test_a_split_that_is_not_there(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    data = Dolly(DollyOptions())
    data.prepare(write(tmp_path / "d.jsonl", rows), tmp_path)
    with pytest.raises(InputError, match="no such split, got 'dev'; expected train, validation or test"):
        list(data.load(tmp_path, "dev"))


def test_a_missing_file_while_planning(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder for data set 'dolly'"):
        Dolly(DollyOptions()).identity(tmp_path / "nowhere")
