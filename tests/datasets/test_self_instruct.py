"""Self-Instruct: real counts, and what a broken file says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hub.rows import self_instruct_row, write

from harness.api import Example, InputError
from harness.testing import check_dataset
from harness_plugins.datasets.self_instruct import SelfInstruct, SelfInstructOptions, harness_register_datasets

if TYPE_CHECKING:
    from pathlib import Path


def read(source: Path, folder: Path) -> list[Example]:
    data = SelfInstruct(SelfInstructOptions())
    data.prepare(source, folder)
    return list(data.load(folder, "test"))


def test_the_real_file(real_data: Path, tmp_path: Path) -> None:
    rows = read(real_data / "self-instruct", tmp_path)
    assert len(rows) == 252
    assert sum(not row.fields["context"] for row in rows) == 44
    assert len({row.fields["instruction"] for row in rows}) == 251
    assert all(row.completion and row.references == (row.completion,) for row in rows)
    assert rows[1].id == "user_oriented_task_1"
    assert (rows[1].completion, rows[1].columns) == ("Confident", {"category": "Grammarly"})
    assert rows[1].fields["context"].startswith("Hi Jen,")


def test_the_contract(tmp_path: Path) -> None:
    rows = [self_instruct_row(number) for number in range(9)]
    plain = write(tmp_path / "plain" / "user_oriented_instructions.jsonl", rows)
    packed = write(tmp_path / "packed" / "user_oriented_instructions.jsonl.gz", rows)
    (registration,) = harness_register_datasets()
    check_dataset(registration, tmp_path / "work", source=packed.parent)
    data = SelfInstruct(SelfInstructOptions())
    assert data.identity(plain) == data.identity(packed.parent)
    assert read(plain, tmp_path) == read(packed, tmp_path)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"id": ', "s.jsonl:3: broken JSON"),
        ({"id": "x", "instruction": "y"}, "s.jsonl:3: the field 'instances' is missing, got 'id, instruction'"),
        (self_instruct_row(9, instances=[]), "s.jsonl:3: the field 'instances' is not a list of one object"),
        (self_instruct_row(9, instances=["x"]), "s.jsonl:3: the field 'instances' is not a list of one object"),
        (self_instruct_row(9, instances=[{"input": ""}]), "s.jsonl:3: the field 'output' is missing"),
        (self_instruct_row(9, instances=[{"input": "", "output": " "}]), "s.jsonl:3: the field 'output' is blank"),
        (self_instruct_row(9, instruction=7), "s.jsonl:3: the field 'instruction' is not a text, got 'int'"),
        (self_instruct_row(1), "s.jsonl:3: the id of line 2 again, got 'user_oriented_task_1'"),
    ],
)
def test_a_broken_line_is_named(line: Any, says: str, tmp_path: Path) -> None:
    source = write(tmp_path / "s.jsonl", [self_instruct_row(0), self_instruct_row(1), line])
    with pytest.raises(InputError) as caught:
        read(source, tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}/{says}")


def test_it_is_for_evaluation_only(tmp_path: Path) -> None:
    source = write(tmp_path / "s.jsonl", [self_instruct_row(0)])
    data = SelfInstruct(SelfInstructOptions())
    data.prepare(source, tmp_path)
    with pytest.raises(InputError, match="one split, got 'train'; expected test"):
        list(data.load(tmp_path, "train"))


def test_an_empty_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"s\.jsonl: this file has no rows"):
        read(write(tmp_path / "s.jsonl", []), tmp_path)
