"""Any data set of the hub, through a hub on this machine, and from a folder with its files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import datasets.config
import pytest
from hub.own import as_parquet, options
from hub.server import COMMIT
from huggingface_hub import HfFileSystem

from harness.api import Example, InputError, MachineError
from harness.benchmark import load_benchmark
from harness.plugins.loader import load_registry
from harness.testing import check_dataset
from harness_plugins.datasets.hub import Hub, HubOptions, harness_register_datasets

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hub.server import FakeHub

    from harness.api import Provenance

ID = "someone/questions"
ROWS: list[dict[str, Any]] = [{"question": f"What is {n}?", "answer": f"It is {n}.", "n": n} for n in range(40)]
PAIRS: list[dict[str, Any]] = [{"prompt": f"Say {n}.", "chosen": f"{n}!", "rejected": "No."} for n in range(12)]
COLUMNS: dict[str, Any] = {"prompt": "question", "completion": "answer"}
CARD = """---
configs:
- config_name: qa
  data_files:
  - {split: train, path: "qa/train-*.parquet"}
  - {split: test, path: "qa/test.parquet"}
- config_name: pairs
  data_files: "pairs.parquet"
---
Questions.
"""


FILES = {
    "README.md": CARD.encode(),
    "qa/train-0.parquet": as_parquet(ROWS[:20]),
    "qa/train-1.parquet": as_parquet(ROWS[20:30]),
    "qa/test.parquet": as_parquet(ROWS[30:]),
    "pairs.parquet": as_parquet(PAIRS),
}


@pytest.fixture
def filled(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", hub.url)
    monkeypatch.setattr(
        datasets.config, "HUB_DATASETS_URL", f"{hub.url}/datasets/{{repo_id}}/resolve/{{revision}}/{{path}}"
    )
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    HfFileSystem.clear_instance_cache()
    hub.files.update({(ID, name): content for name, content in FILES.items()})
    return hub


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    folder = tmp_path / "snapshot"
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def read(
    folder: Path, split: str, source: Path | None = None, limit: int | None = None, name: str = ID, **given: Any
) -> tuple[list[Example], Provenance, tuple[str, ...]]:
    data = Hub(HubOptions(**{"id": name, "config": "qa", **options(**given)}))
    folder.mkdir(exist_ok=True)
    provenance = data.prepare_split(source, folder, split, limit)
    return list(data.load(folder, split))[:limit], provenance, data.notes(folder, split)


def numbers(rows: Sequence[Example]) -> list[int]:
    return [row.columns["n"] for row in rows]


def test_a_name_becomes_a_commit_that_is_recorded(filled: FakeHub, tmp_path: Path) -> None:
    rows, provenance, _ = read(tmp_path / "a", "train", **COLUMNS)
    assert numbers(rows) == list(range(30))
    assert (rows[3].fields["prompt"], rows[3].completion) == ("What is 3?", "It is 3.")
    assert (provenance.origin, provenance.revision) == (ID, COMMIT)
    assert provenance.notes == (f"{ID}: main was {COMMIT} when it was fetched",)
    assert all(COMMIT in asked for asked in filled.requests)  # nothing is read under a name that may move
    pinned = read(tmp_path / "b", "train", revision=COMMIT, **COLUMNS)
    assert pinned[0] == rows
    assert (pinned[1].sha256, pinned[1].notes) == (provenance.sha256, ())


def test_no_more_than_the_split_and_the_limit_is_fetched(filled: FakeHub, tmp_path: Path) -> None:
    big = [{"question": f"What is {n}?", "answer": "word " * 400, "n": n} for n in range(20_000)]
    filled.files[ID, "qa/train-1.parquet"] = as_parquet(big)
    rows, _, _ = read(tmp_path / "a", "train", limit=5, **COLUMNS)
    assert numbers(rows) == list(range(5))
    fetched = {asked.partition(COMMIT)[2] for asked in filled.requests if asked.startswith("GET")}
    assert "/qa/train-0.parquet" in fetched
    assert not fetched & {"/qa/train-1.parquet", "/qa/test.parquet", "/pairs.parquet"}
    assert len((tmp_path / "a" / "train.rows.jsonl").read_text(encoding="utf-8").splitlines()) == 5


def test_a_configuration_has_its_own_columns_and_kind(filled: FakeHub, tmp_path: Path) -> None:
    assert filled.files
    rows, _, _ = read(tmp_path / "a", "train", config="pairs", kind="preferences")
    assert [(row.chosen, row.rejected) for row in rows] == [(row["chosen"], row["rejected"]) for row in PAIRS]
    with pytest.raises(InputError, match=r"these rows are preferences, and without(?s:.*)kind: preferences"):
        read(tmp_path / "b", "train", config="pairs")


def test_what_is_not_there_is_named_with_what_is(filled: FakeHub, tmp_path: Path) -> None:
    mistakes: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"name": "someone/question"}, MachineError, "hub data set 'someone/question': the hub has no such data set"),
        ({"revision": "v9"}, InputError, "the hub has no such revision, got 'v9'"),
        ({"config": "q"}, InputError,
         f"{ID}@{COMMIT[:12]}: no such configuration, got 'q'; expected config: one of qa, pairs"),
        ({"config": None}, InputError, "several configurations, and none is named; expected config: one of qa, pairs"),
    ]  # fmt: skip
    for given, error, says in mistakes:
        with pytest.raises(error) as caught:
            read(tmp_path / "a", "train", **given, **COLUMNS)
        assert says in str(caught.value)
    with pytest.raises(InputError, match=r"no such split, got 'tests'; expected one of train, test.*mean 'test'"):
        read(tmp_path / "a", "tests", **COLUMNS)
    with pytest.raises(InputError, match=r"/train, row 1: the field 'questoin' is missing.*did you mean 'question'"):
        read(tmp_path / "a", "train", prompt="questoin", completion="answer")
    filled.status = 503
    with pytest.raises(MachineError, match="the hub cannot be reached, or does not answer as it should"):
        read(tmp_path / "a", "train", **COLUMNS)


def test_a_file_that_breaks_off_is_an_error_and_no_shorter_data(filled: FakeHub, tmp_path: Path) -> None:
    filled.files[ID, "qa/train-1.parquet"] = as_parquet(ROWS[20:30])[:-20]
    with pytest.raises(InputError, match="the data cannot be read behind row 20"):
        read(tmp_path / "a", "train", **COLUMNS)


def test_offline_is_said_with_what_helps(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"HF_HUB_OFFLINE is set(?s:.*)`path:` beside the data set"):
        read(tmp_path / "a", "train", **COLUMNS)


def test_a_folder_with_its_files_gives_the_same_rows(filled: FakeHub, snapshot: Path, tmp_path: Path) -> None:
    there, _, _ = read(tmp_path / "a", "train", **COLUMNS)
    filled.status = 500
    rows, provenance, _ = read(tmp_path / "b", "train", snapshot, **COLUMNS)
    assert rows == there
    assert (provenance.origin, provenance.revision) == ("file", None)
    data = Hub(HubOptions(id=ID, config="qa"))
    before = data.identity(snapshot)
    (snapshot / "pairs.parquet").write_bytes(as_parquet(PAIRS[1:]))
    assert data.identity(snapshot) != before
    (tmp_path / "a.csv").write_text("a\n1\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"a\.csv: a folder with the files of the data set is needed"):
        data.identity(tmp_path / "a.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: there are no data files that `datasets` can read"):
        read(tmp_path / "c", "train", tmp_path / "empty", config=None)


def test_the_contract_holds(snapshot: Path, tmp_path: Path) -> None:
    (registration,) = harness_register_datasets()
    check_dataset(registration, tmp_path / "work", {"id": ID, "config": "qa", "columns": COLUMNS}, snapshot)


def test_holdout_and_bad_rows(snapshot: Path, tmp_path: Path) -> None:
    broken = [*ROWS[:12], {**ROWS[12], "answer": None}, *ROWS[13:30]]
    (snapshot / "qa" / "train-0.parquet").write_bytes(as_parquet(broken))
    (snapshot / "qa" / "train-1.parquet").unlink()
    with pytest.raises(InputError, match=r"snapshot/train, row 13: the field 'answer' is not a text, got 'null'"):
        read(tmp_path / "a", "train", snapshot, **COLUMNS)
    given: dict[str, Any] = {**COLUMNS, "bad_rows": "skip", "holdout": {"validation": 0.3}}
    parts = {split: read(tmp_path / split, split, snapshot, **given) for split in ("train", "validation", "test")}
    assert sorted(numbers(parts["train"][0]) + numbers(parts["validation"][0])) == [n for n in range(30) if n != 12]
    assert numbers(parts["test"][0]) == list(range(30, 40))
    held, skipped = parts["validation"][2]
    assert held == f"{ID}: validation by a holdout of train (validation 0.3; split by a hash of prompt)"
    assert skipped.startswith(f"{ID}: 1 of 30 rows left out as bad: train, row 13 (the field 'answer'")
    with pytest.raises(InputError, match="the split 'test' is here, and holdout would make another"):
        read(tmp_path / "b", "test", snapshot, **{**given, "holdout": {"test": 0.3}})


def test_a_file_of_a_benchmark_names_it(tmp_path: Path) -> None:
    use = {"dataset": "hub", "id": ID, "config": "qa", "revision": COMMIT, "columns": COLUMNS}
    content = {
        "benchmark": "own", "seeds": [0],
        "models": [{"name": "tiny", "config": {"model_type": "gpt2", "n_positions": 1024}, "vocab_size": 300}],
        "template": {"text": "{prompt}"}, "train": {**use, "split": "train_sft"}, "evaluate": [use],
        "decoding": {"greedy": {"temperature": 0}}, "methods": ["sft"], "metrics": ["length"],
    }  # fmt: skip
    file = tmp_path / "own.yaml"
    file.write_text(json.dumps(content), encoding="utf-8")
    benchmark = load_benchmark(file, registry=load_registry())
    assert (benchmark.train.split, benchmark.train.kind) == ("train_sft", "demonstrations")  # asked for when it is run
    for spoilt, says in (({"id": "a b"}, "train.id"), ({"cofnig": "x"}, "did you mean 'config'")):
        file.write_text(json.dumps({**content, "train": {**use, **spoilt}}), encoding="utf-8")
        with pytest.raises(InputError, match=says):
            load_benchmark(file, registry=load_registry())
