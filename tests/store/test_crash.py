"""A process that is killed before any one of its file operations leaves the old state or the new one."""

from __future__ import annotations

import fcntl
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from faults.disks import Disk, lay
from faults.watchers import Recorder
from store.stage import ENVIRONMENT, FILES, ID, KIND, content, in_child, make

from harness.disk import watched
from harness.errors import StageError
from harness.store.files import replace_text
from harness.store.stages import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from faults.disks import State

MOST = 300
OTHER = {**ENVIRONMENT, "device": "another"}
HEAVY = ("checkpoint", "optimizer.safetensors")


def _killed_everywhere(root: Path, prepare: Callable[[Path], object], act: Callable[[Path], object]) -> list[Path]:
    """Do ``act`` in fresh folders, killed one operation later each time; return the folders of those killed."""
    folders: list[Path] = []
    for number in range(1, MOST):
        folder = root / str(number)
        folder.mkdir()
        prepare(folder)
        ended = in_child(lambda folder=folder: act(folder), die_at=number)  # type: ignore[misc]  # bound here
        if ended == 0:
            assert number > 5, "the child's file operations are not seen"
            return folders
        assert ended == -signal.SIGKILL
        folders.append(folder)
    raise AssertionError("the child never came to its end")


def _nothing(_: Path) -> None:
    return


def _prune(root: Path) -> None:
    Store(root).prune(KIND, ID, HEAVY)


def _made_and_pruned(root: Path) -> None:
    make(root)
    _prune(root)


def _leftovers(root: Path) -> list[str]:
    return sorted(p.name for p in (root / "store" / ".drafts").glob("*"))


def test_a_first_commit_is_there_as_a_whole_or_not_at_all(quick_path: Path) -> None:
    seen = set()
    for folder in _killed_everywhere(quick_path, _nothing, make):
        record = Store(folder).find(KIND, ID)
        seen.add(record is not None)
        if record is not None:
            record.verify()
            assert {name: content(record)[name] for name in FILES} == FILES
        Store(folder).sweep()
        assert _leftovers(folder) == []
        again = make(folder)
        assert {name: content(again)[name] for name in FILES} == FILES
    assert seen == {False, True}


def test_a_second_commit_leaves_the_first(quick_path: Path) -> None:
    for folder in _killed_everywhere(quick_path, make, make):
        record = Store(folder).open(KIND, ID)
        assert {name: content(record)[name] for name in FILES} == FILES


def test_letting_go_leaves_all_files_or_a_manifest_without_them(quick_path: Path) -> None:
    seen = set()
    for folder in _killed_everywhere(quick_path, make, _prune):
        record = Store(folder).open(KIND, ID)
        record.verify()
        seen.add(record.holds("checkpoint"))
        assert record.holds("checkpoint") == record.holds("optimizer.safetensors")
        Store(folder).prune(KIND, ID, HEAVY)
        present = {path.name for path in record.folder.iterdir() if not path.name.startswith(".")}
        assert present == {"config.json", "environment.json", "manifest.json", "train.jsonl", "summary.json"}
    assert seen == {False, True}


def test_giving_back_leaves_all_files_or_a_manifest_without_them(quick_path: Path) -> None:
    seen = set()
    for folder in _killed_everywhere(quick_path, _made_and_pruned, make):
        record = Store(folder).open(KIND, ID)
        record.verify()
        seen.add(record.holds("checkpoint"))
        again = make(folder)
        assert {name: content(again)[name] for name in FILES} == FILES
    assert seen == {False, True}


def test_a_checkpoint_of_another_machine_replaces_the_whole_stage_or_nothing(quick_path: Path) -> None:
    def elsewhere(root: Path) -> None:
        make(root, environment=OTHER, changes={"model": b"other weights", "train": b'{"step": 9}\n'})

    seen = set()
    for folder in _killed_everywhere(quick_path, _made_and_pruned, elsewhere):
        record = Store(folder).find(KIND, ID)
        state = "absent" if record is None else "new" if record.holds("checkpoint") else "old"
        seen.add(state)
        if record is not None:
            record.verify()
            log = record.path("train.jsonl").read_bytes()
            assert log == (b'{"step": 9}\n' if state == "new" else FILES["train.jsonl"])
        Store(folder).sweep()
        assert _leftovers(folder) == []
        elsewhere(folder)
        assert Store(folder).open(KIND, ID).path("checkpoint/model.safetensors").read_bytes() == b"other weights"
    assert {"old", "new"} <= seen


def test_replacing_a_text_leaves_the_old_or_the_new(quick_path: Path) -> None:
    def old(root: Path) -> None:
        replace_text(root / "tables" / "leaderboard.md", "old")

    seen = set()
    for folder in _killed_everywhere(quick_path, old, lambda f: replace_text(f / "tables" / "leaderboard.md", "new")):
        seen.add((folder / "tables" / "leaderboard.md").read_text(encoding="utf-8"))
    assert seen == {"old", "new"}


def test_every_byte_is_on_the_disk_before_the_stage_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    at_rename: list[str] = []
    fsync, rename = os.fsync, Path.replace

    def remember(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    def renamed(self: Path, target: Path) -> Path:
        at_rename.extend(str(path.relative_to(self)) for path in map(Path, synced) if path.is_relative_to(self))
        synced.clear()
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", remember)
    monkeypatch.setattr(Path, "replace", renamed)
    record = make(tmp_path)
    assert set(at_rename) >= {
        *FILES,
        "config.json",
        "environment.json",
        "manifest.json",
        "checkpoint",
        "checkpoint/sub",
    }
    assert at_rename[-2:] == ["manifest.json", "."]
    assert synced == [str(record.folder.parent)]


def _after_a_power_failure(root: Path, act: Callable[[Path], object]) -> State:
    """Do something and return what is on the disk, of what was forced there."""
    recorder, disk = Recorder(root), Disk({})
    with watched(recorder):
        act(root)
    for change in recorder.made:
        disk.make(change)
    return disk.state("names")


def test_after_a_power_failure_a_committed_stage_is_there_and_whole(tmp_path: Path) -> None:
    kept = _after_a_power_failure(tmp_path, make)
    lay(kept, tmp_path)
    record = Store(tmp_path).open(KIND, ID)
    assert {name: content(record)[name] for name in FILES} == FILES


def test_after_a_power_failure_what_was_replaced_is_new(tmp_path: Path) -> None:
    kept = _after_a_power_failure(tmp_path, lambda root: replace_text(root / "a" / "b" / "tables.md", "new"))
    assert kept == {"a": None, "a/b": None, "a/b/tables.md": b"new"}


def test_what_a_killed_writer_has_left_goes_with_the_next_one_and_a_living_one_s_stays(tmp_path: Path) -> None:
    path = tmp_path / "tables.md"
    dead, living, other = (tmp_path / f".{name}.{letter * 32}" for name, letter in (
        (path.name, "a"), (path.name, "b"), ("other.md", "c"),
    ))  # fmt: skip
    for each in (dead, living, other):
        each.touch()
    with living.open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        replace_text(path, "new")
    assert {each.name for each in tmp_path.iterdir()} == {path.name, living.name, other.name}


@pytest.mark.parametrize("times", [1, 3])
def test_a_name_that_others_clear_away_before_it_is_locked_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    path, flock, left = tmp_path / "tables.md", fcntl.flock, [tmp_path] * times

    def raced(descriptor: int, how: int) -> None:
        if left:
            for each in left.pop().glob(".*"):
                each.unlink()
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", raced)
    replace_text(path, "new")
    assert path.read_text(encoding="utf-8") == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_on_the_way_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        store = Store(tmp_path)
        with store.draft(KIND, ID) as draft:
            draft.write_json("summary.json", {"steps": 1})
            raise StageError("half way")

    with pytest.raises(StageError, match="half way"):
        fail()
    assert Store(tmp_path).find(KIND, ID) is None
    assert _leftovers(tmp_path) == []
