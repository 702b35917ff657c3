"""Writing and finding stages."""

from __future__ import annotations

import json
import os
import resource
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from store.stage import ENVIRONMENT, FILES, ID, KIND, content, in_child, make

from harness.errors import MachineError, StageError
from harness.store.stages import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOBODY = 65534


def test_a_record_reads_back_what_was_written(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"id": "a\u2028b", "text": "\ud800 \0 é"}, {"id": "2", "values": {"x": 0.1}}]
    store = Store(tmp_path)
    with store.draft("score", ID) as draft:
        assert draft.write_jsonl("values.jsonl", iter(rows)) == 2
        draft.write_json("metrics.json", {"mean": 0.1 + 0.2})
        committed = store.commit(draft, config={"seed": 0}, environment=ENVIRONMENT, label="a label")
    for record in (committed, Store(tmp_path).open("score", ID)):
        assert list(record.jsonl("values.jsonl")) == rows
        assert record.json("metrics.json") == {"mean": 0.1 + 0.2}
        assert record.json("config.json") == {"seed": 0}
        assert record.label == "a label"
        assert record.holds("values.jsonl")
        assert not record.holds("values")
    assert committed.folder == tmp_path / "store" / "score" / ID
    assert list((tmp_path / "store" / ".drafts").iterdir()) == []


def test_what_is_not_there(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.find(KIND, ID) is None
    assert list(store.records(KIND)) == []
    with pytest.raises(StageError, match="no finished train stage abab"):
        store.open(KIND, ID)
    record = make(tmp_path)
    with pytest.raises(StageError, match=r"no file 'nothing\.json' in this stage"):
        record.path("nothing.json")
    assert [found.id for found in store.records(KIND)] == [ID]


def test_nothing_is_created_by_looking(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    store.find(KIND, ID)
    store.sweep()
    assert not (tmp_path / "results").exists()


def test_a_sweep_keeps_what_unfinished_stages_go_on_from(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folders = [store.scratch(KIND, name) for name in ("aaaa", "bbbb", "cccc", ID)]
    for folder in folders:
        (folder / "9").mkdir(parents=True)
    store.folder(KIND, "bbbb").mkdir(parents=True)  # damaged: it has no manifest
    store.folder(KIND, "cccc").mkdir(parents=True)
    (store.folder(KIND, "cccc") / "manifest.json").write_text('{"format": 999}')
    make(tmp_path)
    store.sweep()
    assert [folder.exists() for folder in folders] == [True, True, True, False]
    store.prune(KIND, ID, ["model.safetensors"])
    (folders[-1] / "9").mkdir(parents=True)
    store.sweep()
    assert folders[-1].exists() == bool(store.open(KIND, ID).manifest.get("pruned"))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_not_written(tmp_path: Path, bad: float) -> None:
    store = Store(tmp_path)
    with store.draft(KIND, ID) as draft:
        with pytest.raises(ValueError, match="JSON compliant"):
            draft.write_json("summary.json", {"x": bad})
        with pytest.raises(ValueError, match="JSON compliant"):
            draft.write_jsonl("train.jsonl", [{"x": bad}])


class TestASecondCommit:
    def test_keeps_the_first(self, tmp_path: Path) -> None:
        first = make(tmp_path)
        second = make(tmp_path, changes={"train": b'{"seconds": 2}\n'})
        assert second.path("train.jsonl").read_bytes() == FILES["train.jsonl"]
        assert second.manifest == first.manifest

    @pytest.mark.parametrize(("stem", "other"), [("model", b"other"), ("optimizer", None)])
    def test_that_differs_is_a_conflict(self, tmp_path: Path, stem: str, other: bytes | None) -> None:
        make(tmp_path)
        with pytest.raises(StageError, match=r"two runs of the same stage gave different \S+safetensors\n"):
            make(tmp_path, changes={stem: other})
        assert {name: content(Store(tmp_path).open(KIND, ID))[name] for name in FILES} == FILES

    def test_with_a_file_more_is_a_conflict(self, tmp_path: Path) -> None:
        make(tmp_path, changes={"optimizer": None})
        with pytest.raises(StageError, match=r"gave different optimizer\.safetensors"):
            make(tmp_path)

    def test_that_differs_on_another_machine_is_none(self, tmp_path: Path) -> None:
        make(tmp_path)
        second = make(tmp_path, environment={**ENVIRONMENT, "threads": 2}, changes={"model": b"other last bits"})
        assert content(second)["checkpoint/model.safetensors"] == FILES["checkpoint/model.safetensors"]

    def test_with_another_config_is_a_conflict(self, tmp_path: Path) -> None:
        make(tmp_path)
        with (
            pytest.raises(StageError, match="gave different"),
            Store(tmp_path).draft(KIND, ID) as draft,
        ):
            Store(tmp_path).commit(draft, config={"seed": 1}, environment=ENVIRONMENT, label="another")

    def test_of_two_at_once_one_is_kept(self, quick_path: Path) -> None:
        for number in range(20):
            root = quick_path / str(number)
            gate, opener = os.pipe()

            def both(root: Path = root, gate: int = gate, opener: int = opener) -> None:
                os.close(opener)
                os.read(gate, 1)
                make(root)

            children = []
            for _ in range(2):
                pid = os.fork()
                if pid == 0:
                    status = 1
                    try:
                        both()
                        status = 0
                    finally:
                        os._exit(status)
                children.append(pid)
            os.close(opener)
            os.close(gate)
            assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0, 0]
            record = Store(root).open(KIND, ID)
            assert {name: content(record)[name] for name in FILES} == FILES
            assert not (root / "store" / ".corrupt").exists()
            assert list((root / "store" / ".drafts").iterdir()) == []


class TestLettingGo:
    def test_takes_files_and_their_folders(self, tmp_path: Path) -> None:
        record = make(tmp_path)
        before = record.digest("checkpoint/model.safetensors")
        Store(tmp_path).prune(KIND, ID, ["checkpoint", "optimizer.safetensors", "unknown"])
        record = Store(tmp_path).open(KIND, ID)
        assert not record.holds("checkpoint")
        assert not record.holds("optimizer.safetensors")
        assert not (record.folder / "checkpoint").exists()
        assert record.digest("checkpoint/model.safetensors") == before
        with pytest.raises(StageError, match="no file 'checkpoint' in this stage"):
            record.path("checkpoint")
        record.verify()

    def test_of_nothing_changes_nothing(self, tmp_path: Path) -> None:
        make(tmp_path)
        Store(tmp_path).prune(KIND, "00" * 32, ["checkpoint"])
        Store(tmp_path).prune(KIND, ID, ["check"])
        assert "pruned" not in Store(tmp_path).open(KIND, ID).manifest

    def test_is_made_good_by_another_run(self, tmp_path: Path) -> None:
        first = make(tmp_path)
        Store(tmp_path).prune(KIND, ID, ["checkpoint", "optimizer.safetensors"])
        again = make(tmp_path, changes={"train": b'{"seconds": 2}\n'})
        assert {name: content(again)[name] for name in FILES} == FILES
        assert again.manifest["pruned"] == []
        assert again.manifest["created"] == first.manifest["created"]

    def test_and_other_weights_from_the_same_machine_are_a_conflict(self, tmp_path: Path) -> None:
        make(tmp_path)
        Store(tmp_path).prune(KIND, ID, ["checkpoint"])
        with pytest.raises(StageError, match=r"different checkpoint/model\.safetensors"):
            make(tmp_path, changes={"model": b"other"})
        assert not Store(tmp_path).open(KIND, ID).holds("checkpoint")

    def test_and_other_weights_from_another_machine_come_with_their_log(self, tmp_path: Path) -> None:
        make(tmp_path)
        Store(tmp_path).prune(KIND, ID, ["checkpoint"])
        other = {**ENVIRONMENT, "device": "gpu"}
        record = make(tmp_path, environment=other, changes={"model": b"other", "train": b'{"step": 7}\n'})
        assert record.json("environment.json") == other
        assert list(record.jsonl("train.jsonl")) == [{"step": 7}]
        assert Store(tmp_path).open(KIND, ID).path("checkpoint/model.safetensors").read_bytes() == b"other"


class TestARefusalOfTheMachine:
    def test_a_full_disk(self, tmp_path: Path) -> None:
        store = Store(tmp_path)
        with store.draft(KIND, ID) as draft:
            (draft.folder / "summary.json").symlink_to("/dev/full")
            with pytest.raises(MachineError, match=r"summary\.json: cannot write: No space left") as caught:
                draft.write_json("summary.json", {"steps": 1})
        assert "results made so far are intact" in str(caught.value)
        assert Store(tmp_path).find(KIND, ID) is None

    @pytest.mark.parametrize(
        "error",
        [OSError(28, "No space left on device"), RuntimeError("I/O error: No space left on device (os error 28)")],
    )
    def test_a_disk_that_a_library_finds_full(self, tmp_path: Path, error: Exception) -> None:
        with (
            pytest.raises(MachineError, match="cannot write: No space left on device"),
            Store(tmp_path).draft(KIND, ID),
        ):
            raise error

    def test_a_file_that_may_not_grow(self, tmp_path: Path) -> None:
        def write() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
            for save in (_save_by_library, _save_by_hand):
                with (
                    pytest.raises(MachineError, match=r"cannot write: File too large\n.*ulimit -f"),
                    Store(tmp_path).draft(KIND, ID) as draft,
                ):
                    save(draft.folder / "model.safetensors")

        assert in_child(write) == 0

    def test_other_errors_stay_what_they_are(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError), Store(tmp_path).draft(KIND, ID):
            (tmp_path / "missing").read_bytes()

    def test_a_results_folder_that_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "results").write_text("", encoding="utf-8")
        with pytest.raises(MachineError, match=r"results.*: cannot write: Not a directory"):
            make(tmp_path / "results")
        assert Store(tmp_path / "results").find(KIND, ID) is None

    def test_a_folder_that_may_not_be_written(self, open_path: Path) -> None:
        def write() -> None:
            with pytest.raises(MachineError, match="cannot write: Permission denied"):
                make(open_path)

        _as_nobody(open_path, 0o555, write)

    def test_a_folder_that_may_be_read_only(self, open_path: Path) -> None:
        make(open_path)

        def read() -> None:
            assert content(Store(open_path).open(KIND, ID))["train.jsonl"] == FILES["train.jsonl"]
            assert Store(open_path).sweep() == 0

        _as_nobody(open_path, 0o755, read)

    def test_a_stage_that_may_not_be_read_is_not_taken_for_absent(self, open_path: Path) -> None:
        record = make(open_path)
        (record.folder / "manifest.json").chmod(0)

        def find() -> None:
            with pytest.raises(MachineError, match=r"manifest\.json: cannot read: Permission denied"):
                Store(open_path).find(KIND, ID)

        _as_nobody(open_path, 0o777, find)
        record.folder.parent.chmod(0)

        def find_again() -> None:
            with pytest.raises(MachineError, match="cannot read: Permission denied"):
                Store(open_path).find(KIND, ID)

        _as_nobody(open_path, 0o777, find_again)


def _as_nobody(folder: Path, mode: int, action: Callable[[], None]) -> None:
    """Do ``action`` without the rights of root, which nothing is refused."""
    folder.chmod(mode)

    def act() -> None:
        if os.geteuid() == 0:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        action()

    assert in_child(act) == 0


def test_the_manifest_says_what_is_there(tmp_path: Path) -> None:
    record = make(tmp_path)
    manifest = json.loads((record.folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest == record.manifest
    assert (manifest["format"], manifest["kind"], manifest["id"]) == (3, KIND, ID)
    assert manifest["measured"] == ["environment.json", "summary.json", "train.jsonl"]
    assert manifest["files"]["optimizer.safetensors"] == {
        "sha256": "9afaeef005e286957ee9a18a2481a75c7fc7ba74bae8de50ffa6127b12a62cae",
        "size": 64,
    }
    assert set(manifest["files"]) == {*FILES, "config.json", "environment.json"}


def _save_by_library(path: Path) -> None:
    save_file({"weight": np.zeros(4096)}, path)


def _save_by_hand(path: Path) -> None:
    path.write_bytes(bytes(8192))
