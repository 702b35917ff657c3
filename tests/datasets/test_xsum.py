"""XSum: the real subsets, documents that cross no split, rows split anew, and Parquet from a hub."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hub.rows import write, xsum_row

from harness.api import Example, InputError
from harness.testing import check_dataset
from harness_plugins.datasets.xsum import XSum, XSumOptions, harness_register_datasets

if TYPE_CHECKING:
    from pathlib import Path

    from hub.server import FakeHub

SPLITS = ("train", "validation", "test")
POOL = ("train", "test", "unknown_split")


def xsum(**options: Any) -> XSum:
    return XSum(XSumOptions(**options))


def splits(data: XSum, source: Path, folder: Path, names: tuple[str, ...] = SPLITS) -> dict[str, list[Example]]:
    folder.mkdir(exist_ok=True)
    data.prepare(source, folder)
    return {split: list(data.load(folder, split)) for split in names}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ranges = {"train": range(200), "validation": range(200, 220), "test": range(220, 260)}
    for split, numbers in ranges.items():
        write(tmp_path / "xsum" / f"{split}.jsonl.gz", [xsum_row(n) for n in numbers])
    return tmp_path / "xsum"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def test_the_real_files(real_data: Path, work: Path) -> None:
    data = xsum()
    found = splits(data, real_data / "xsum", work, ("train", "test"))
    assert {split: len(rows) for split, rows in found.items()} == {"train": 1000, "test": 1909}
    with pytest.raises(InputError, match="no file for the split 'validation', got 'test, train'"):
        data.load(work, "validation")


def test_the_real_files_split_anew(real_data: Path, work: Path) -> None:
    data = xsum(resplit=POOL, words=100)
    found = splits(data, real_data / "xsum", work)
    assert {split: len(rows) for split, rows in found.items()} == {"train": 2146, "validation": 318, "test": 648}
    documents = {split: {row.fields["document"] for row in rows} for split, rows in found.items()}
    assert not documents["train"] & (documents["validation"] | documents["test"])
    assert not documents["validation"] & documents["test"]
    assert max(len(document.split()) for part in documents.values() for document in part) == 100
    notes = data.prepare(real_data / "xsum", work).notes
    sizes = "2146 train, 318 validation, 648 test"
    assert notes == (
        f"not the published splits: the files train, test, unknown_split split anew by document ({sizes})",
        "the first 100 words of each document",
        "of 3114 rows left out: 1 whose document is in an earlier row, 1 whose summary is in an earlier row",
    )


def test_a_row(folder: Path, work: Path) -> None:
    assert splits(xsum(), folder, work)["test"][1] == Example(
        id="xsum-test-000002",
        fields={"document": "The town of number 221 has a new bridge.\nIt was built in 222 days.\nPeople came."},
        completion="Town 221 opens its bridge.",
        references=("Town 221 opens its bridge.",),
        columns={"bbc_id": "30000221"},
    )


def test_the_beginning_of_a_document(folder: Path, work: Path) -> None:
    data = xsum(words=11)
    (row, *_) = splits(data, folder, work)["validation"]
    assert row.fields["document"] == "The town of number 200 has a new bridge.\nIt was"
    assert "the first 11 words of each document" in data.prepare(folder, work).notes


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (xsum_row(900, document=" \n"), "1 without a document or a summary"),
        (xsum_row(900, summary=""), "1 without a document or a summary"),
        (xsum_row(900, document=xsum_row(230)["document"].upper()), "1 whose document is in an earlier row"),
        (xsum_row(900, summary=" town 230  opens its bridge. "), "1 whose summary is in an earlier row"),
    ],
)
def test_a_row_that_is_left_out_is_counted(row: dict[str, Any], said: str, folder: Path, work: Path) -> None:
    write(folder / "train.jsonl.gz", [xsum_row(1), row])
    data = xsum()
    assert data.prepare(folder, work).notes[-1] == f"of 62 rows left out: {said}"
    assert [row.id for row in data.load(work, "train")] == ["xsum-train-000001"]


def test_beginnings_that_are_alike_are_one_document(folder: Path, work: Path) -> None:
    same = "The same first words of two articles"
    write(folder / "train.jsonl.gz", [xsum_row(n, document=f"{same} and then {n}.") for n in range(3)])
    assert len(splits(xsum(words=7), folder, work)["train"]) == 1


def test_a_new_split_does_not_depend_on_order_or_length(folder: Path, work: Path) -> None:
    first = splits(xsum(resplit=("train",)), folder, work)
    write(folder / "train.jsonl.gz", [xsum_row(n) for n in reversed(range(200))])
    again = splits(xsum(resplit=("train",), words=12), folder, work)
    for split in SPLITS:
        assert {row.completion for row in first[split]} == {row.completion for row in again[split]}
    assert sum(len(rows) for rows in first.values()) == 200
    assert len(first["train"]) > len(first["test"]) > len(first["validation"]) > 5


def test_the_contract(folder: Path, tmp_path: Path) -> None:
    (registration,) = harness_register_datasets()
    check_dataset(registration, tmp_path / "one", source=folder)
    check_dataset(registration, tmp_path / "two", {"resplit": ["train", "test"]}, source=folder)


def test_one_file_is_the_test(folder: Path, work: Path) -> None:
    data = xsum()
    data.prepare(folder / "test.jsonl.gz", work)
    assert len(list(data.load(work, "test"))) == 40


def test_what_cannot_be_split_anew(folder: Path, tmp_path: Path) -> None:
    data = xsum(resplit=("train", "test"))
    with pytest.raises(InputError, match="splits anew only what lies in a folder of yours"):
        data.identity(None)
    with pytest.raises(InputError, match="one file was given for data set 'xsum', and `resplit:` names several"):
        data.identity(folder / "test.jsonl.gz")
    with pytest.raises(InputError, match=r"expected more\.jsonl"):
        xsum(resplit=("more",)).identity(folder)
    with pytest.raises(InputError, match="this folder has no file of data set 'xsum'"):
        xsum().identity(write(tmp_path / "empty" / "x.txt", ["x"]).parent)


def test_a_split_that_is_not_there(folder: Path, work: Path) -> None:
    data = xsum()
    data.prepare(folder, work)
    with pytest.raises(InputError, match="no such split, got 'dev'"):
        data.load(work, "dev")


def test_parquet_from_the_hub(folder: Path, work: Path, hub: FakeHub) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    for split, numbers in (("train", range(200)), ("validation", range(200, 220)), ("test", range(220, 260))):
        out = pa.BufferOutputStream()
        parquet.write_table(pa.Table.from_pylist([xsum_row(n) for n in numbers]), out)
        hub.files["EdinburghNLP/xsum", f"data/{split}-00000-of-00001.parquet"] = out.getvalue().to_pybytes()
    data = xsum(revision=hub.commit)
    found = data.prepare(None, work)
    assert (found.origin, found.revision) == ("EdinburghNLP/xsum", hub.commit)
    assert {split: list(data.load(work, split)) for split in SPLITS} == splits(data, folder, work / "other")


def test_what_is_no_parquet(work: Path, hub: FakeHub) -> None:
    hub.files["EdinburghNLP/xsum", "data/train-00000-of-00001.parquet"] = b"no such thing"
    with pytest.raises(InputError, match=r"train\.parquet: no Parquet file that can be read"):
        xsum(revision=hub.commit).prepare(None, work)
