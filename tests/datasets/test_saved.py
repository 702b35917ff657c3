"""What Hugging Face's ``datasets`` saves: folders of ``save_to_disk`` and Arrow files, read as the rows they hold."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import datasets
import pyarrow.ipc
import pyarrow.lib
import pytest
from hub.own import files_options
from hub.rows import write

from harness.api import Example, InputError
from harness.benchmark import load_benchmark
from harness.plugins.loader import load_registry
from harness.testing import check_dataset
from harness_plugins.datasets.files import Files, harness_register_datasets, kind_of, splits_of
from harness_plugins.datasets.files.fields import FilesOptions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ROWS: list[dict[str, Any]] = [
    {"prompt": f"Say {n}, “please”!", "completion": f"{n}\n", "topic": f"t{n % 2}", "tags": [{"name": "a", "n": n}]}
    for n in range(7)
]


def save(folder: Path, rows: Sequence[dict[str, Any]] = ROWS, **how: Any) -> Path:
    datasets.Dataset.from_list(list(rows)).save_to_disk(str(folder), **how)
    return folder


def save_dict(folder: Path, **splits: Sequence[dict[str, Any]]) -> Path:
    held = {name: datasets.Dataset.from_list(list(rows)) for name, rows in splits.items()}
    datasets.DatasetDict(held).save_to_disk(str(folder))
    return folder


def read(source: Path, folder: Path, split: str = "train", **options: Any) -> list[Example]:
    data = Files(files_options(**options))
    prepared = folder / "prepared"
    prepared.mkdir()
    data.prepare(source, prepared)
    return list(data.load(prepared, split))


def lines(tmp_path: Path, rows: Sequence[dict[str, Any]] = ROWS) -> list[Example]:
    """Return the rows as the same content in JSON Lines gives them."""
    (tmp_path / "as-lines").mkdir()
    return read(write(tmp_path / "as-lines" / "a.jsonl", rows), tmp_path / "as-lines")


@pytest.mark.parametrize("shards", [1, 3])
def test_a_saved_dataset_gives_the_rows_of_json_lines(shards: int, tmp_path: Path) -> None:
    source = save(tmp_path / "saved", num_shards=shards)
    assert len(list(source.glob("*.arrow"))) == shards
    assert read(source, tmp_path, "test") == lines(tmp_path)
    (registration,) = harness_register_datasets()
    check_dataset(registration, tmp_path / "work", source=source)


def test_what_is_read_no_longer_needs_the_folder(tmp_path: Path) -> None:
    data, prepared = Files(FilesOptions()), tmp_path / "prepared"
    prepared.mkdir()
    source = save(tmp_path / "saved")
    sha256 = data.prepare(source, prepared).sha256
    assert {sha256} == set(data.identity(source).values())
    source.rename(tmp_path / "elsewhere")
    assert len(list(data.load(prepared, "train"))) == len(ROWS)


def test_a_saved_dict_has_its_own_splits(tmp_path: Path) -> None:
    source = save_dict(tmp_path / "saved", train_sft=ROWS[:4], test=ROWS[4:], all=ROWS[:1])
    assert splits_of(FilesOptions(), source) == ("train_sft", "test", "all")
    assert read(source, tmp_path, "train_sft") == lines(tmp_path, ROWS[:4])
    (registration,) = harness_register_datasets()
    check_dataset(registration, tmp_path / "work", source=source)


def test_order_filter_and_format_are_as_they_were_saved(tmp_path: Path) -> None:
    table = datasets.Dataset.from_list(ROWS).select([5, 1, 3])
    table.set_format("numpy", columns=["topic"])  # which hides the other columns from its own reader
    table.save_to_disk(str(tmp_path / "saved"))
    assert read(tmp_path / "saved", tmp_path) == lines(tmp_path, [ROWS[n] for n in (5, 1, 3)])


def test_the_identity_is_of_the_content(tmp_path: Path) -> None:
    data = Files(FilesOptions())
    one, same = save(tmp_path / "one"), save(tmp_path / "same")
    other = save(tmp_path / "other", [*ROWS[:-1], {**ROWS[-1], "topic": "t9"}])
    assert data.identity(one) == data.identity(same) != data.identity(other)


@pytest.mark.parametrize("layout", ["stream", "file"])
def test_arrow_files(layout: str, tmp_path: Path) -> None:
    table = pyarrow.lib.Table.from_pylist(ROWS)
    new = pyarrow.ipc.new_stream if layout == "stream" else pyarrow.ipc.new_file
    (tmp_path / "files").mkdir()
    source = tmp_path / "files" / "train.arrow"
    with source.open("wb") as out, new(out, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    assert read(source, tmp_path) == lines(tmp_path)
    assert splits_of(FilesOptions(), source.parent) == ("train",)
    whole = source.read_bytes()
    source.write_bytes(whole[: len(whole) // 2])
    (tmp_path / "half").mkdir()
    with pytest.raises(InputError, match=r"train\.arrow: this Arrow file cannot be read( behind row 3)?: "):
        read(source, tmp_path / "half")


def test_the_arrow_file_of_a_saved_dataset_alone(tmp_path: Path) -> None:
    (file,) = save(tmp_path / "saved").glob("*.arrow")
    assert read(file, tmp_path) == lines(tmp_path)


def test_the_kind_is_told_by_the_first_row(tmp_path: Path) -> None:
    pairs = [{"prompt": "x", "chosen": "y", "rejected": "z"}]
    labelled = [{"prompt": "x", "completion": "y", "label": True}]
    source = save_dict(tmp_path / "saved", pairs=pairs, plain=ROWS)
    assert [kind_of(FilesOptions(), source, split) for split in ("pairs", "plain")] == ["preferences", "demonstrations"]
    with pytest.raises(InputError, match="demonstrations or unpaired preferences"):
        kind_of(FilesOptions(), save(tmp_path / "labelled", labelled), "train")
    rows = read(tmp_path / "labelled", tmp_path, kind="unpaired_preferences")
    assert [row.label for row in rows] == [True]


def test_a_row_that_json_does_not_have_is_named_or_skipped(tmp_path: Path) -> None:
    rows = [{"prompt": "x", "completion": "y", "n": 1.0}, {"prompt": "x", "completion": "y", "n": float("nan")}]
    source = save(tmp_path / "saved", rows)
    with pytest.raises(InputError, match=r"saved, row 2: the column 'n' has a value that JSON does not have") as caught:
        read(source, tmp_path)
    assert str(caught.value).startswith(f"{source}, row 2: ")
    (tmp_path / "again").mkdir()
    assert len(read(source, tmp_path / "again", bad_rows="skip")) == 1


def test_images_are_not_decoded(tmp_path: Path) -> None:
    source = save(
        tmp_path / "saved", [{"prompt": "x", "completion": "y", "picture": {"bytes": b"none", "path": "a.png"}}]
    )
    info = json.loads((source / "dataset_info.json").read_text(encoding="utf-8"))
    info["features"]["picture"] = {"_type": "Image"}  # as for a column of pictures; making one takes another library
    _break(source, "dataset_info.json", info)
    with pytest.raises(InputError, match="row 1: the column 'picture' has a value that JSON does not have"):
        read(source, tmp_path)


def test_a_missing_column_is_named_with_what_was_meant(tmp_path: Path) -> None:
    source = save_dict(tmp_path / "saved", train=ROWS)
    with pytest.raises(InputError) as caught:
        read(source, tmp_path, completion="completions")
    message = str(caught.value)
    assert message.startswith(f"{source}/train, row 1: the field 'completions' is missing, got ")
    assert "did you mean 'completion'" in message


def test_a_missing_split_is_named_with_what_was_meant(tmp_path: Path) -> None:
    source = save_dict(tmp_path / "saved", train_sft=ROWS, test_sft=ROWS)
    with pytest.raises(InputError) as caught:
        read(source, tmp_path, "train_stf")
    assert str(caught.value).startswith(f"{source}: no such split, got 'train_stf'")
    assert "expected one of test_sft, train_sft" in str(caught.value)
    assert "did you mean 'train_sft'" in str(caught.value)


def _break(folder: Path, name: str, content: object) -> None:
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("state.json", "{", "/train/state.json: cannot be read: "),
        ("state.json", [], "/train/state.json: not a JSON object, got 'list'"),
        ("state.json", {}, "/train/state.json: this is not the state of a saved data set"),
        ("state.json", {"_data_files": [{"filename": "../a.arrow"}]}, "/train/state.json: this is not the state of"),
        ("state.json", {"_data_files": [{"filename": "b.arrow"}]}, "/train: this saved data set is incomplete, got "),
        ("data-00000-of-00001.arrow", "nothing", "/train: this saved data set cannot be read: "),
        ("../dataset_dict.json", {"splits": ["../a"]}, "/dataset_dict.json: this saved DatasetDict does not list its"),
        ("../dataset_dict.json", {"splits": ["train", "test"]},
         ": the split 'test' of this saved DatasetDict is missing or incomplete, got 'dataset_dict.json, train'"),
    ],
)  # fmt: skip
def test_a_broken_folder_is_named(name: str, content: object, says: str, tmp_path: Path) -> None:
    source = save_dict(tmp_path / "saved", train=ROWS)
    _break(source / "train", name, content)
    with pytest.raises(InputError) as caught:
        read(source, tmp_path)
    assert str(caught.value).startswith(f"{source}{says}")


def test_a_saved_dataset_without_rows_or_without_its_information(tmp_path: Path) -> None:
    datasets.Dataset.from_dict({"prompt": [], "completion": []}).save_to_disk(str(tmp_path / "empty"))
    with pytest.raises(InputError, match="empty: this saved data set has no rows"):
        read(tmp_path / "empty", tmp_path)
    source = save(tmp_path / "saved")
    (source / "dataset_info.json").unlink()
    with pytest.raises(InputError, match=r"this saved data set is incomplete.*expected dataset_info\.json"):
        Files(FilesOptions()).identity(source)


def test_a_folder_that_is_not_a_saved_dataset(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    write(tmp_path / "other" / "rows.jsonl", ROWS)
    with pytest.raises(InputError, match=r"no file of a split, and is not a saved data set, got 'rows\.jsonl'"):
        Files(FilesOptions()).identity(tmp_path / "other")


BENCHMARK = """
benchmark: own
seeds: [0, 1, 2]
models: [{{name: tiny, config: {{model_type: gpt2, n_positions: 1024}}, vocab_size: 300}}]
template: {{text: "{{instruction}}"}}
train: {{dataset: files, path: saved, split: {train}}}
evaluate: [{{dataset: files, path: saved, split: test}}]
decoding: {{greedy: {{temperature: 0}}}}
methods: [sft]
metrics: [length]
"""


def test_one_line_of_a_benchmark_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_dict(tmp_path / "saved", train_sft=ROWS[:5], test=ROWS[5:])
    file = tmp_path / "own.yaml"
    file.write_text(BENCHMARK.format(train="train_sft"), encoding="utf-8")
    benchmark = load_benchmark(file, registry=load_registry())
    assert (benchmark.train.split, benchmark.train.kind) == ("train_sft", "demonstrations")
    file.write_text(BENCHMARK.format(train="train_stf"), encoding="utf-8")
    with pytest.raises(InputError, match=r'no such split, got "train_stf"; expected one of train_sft, test'):
        load_benchmark(file, registry=load_registry())


def test_nothing_but_a_saved_dataset_imports_the_library(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", ROWS)
    saved = save(tmp_path / "saved")
    code = (
        "import sys; from pathlib import Path\n"
        "from harness_plugins.datasets.files import Files, kind_of\n"
        "from harness_plugins.datasets.files.fields import FilesOptions\n"
        f"assert kind_of(FilesOptions(), Path({str(tmp_path / 'a.jsonl')!r}), 'train')\n"
        f"Files(FilesOptions()).identity(Path({str(saved)!r}))\n"
        "print('datasets' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
