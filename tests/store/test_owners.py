"""Drafts of processes that have ended are removed, those of running ones never."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest
from store.stage import ID, KIND

from harness.store import owners
from harness.store.stages import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[int]:
    """Start a process that writes a draft and never ends by itself; return its id."""
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        store = Store(tmp_path)
        with store.draft(KIND, ID) as draft:
            draft.write_json("summary.json", {"steps": 1})
            os.write(tell, b"x")
            while True:
                time.sleep(60)
    os.read(ready, 1)
    os.close(ready)
    os.close(tell)
    yield pid
    _end(pid)


def _end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        return


def _no_locks(*_: object) -> None:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def _drafts(root: Path) -> list[str]:
    return sorted(path.name.rpartition("-")[0] for path in (root / "store" / ".drafts").iterdir())


def _mark(root: Path, text: str, *, age: float = 0) -> Path:
    folder = root / "store" / ".drafts" / "left-behind"
    folder.mkdir(parents=True)
    mark = folder.with_name("left-behind.owner")
    mark.write_text(text, encoding="utf-8")
    os.utime(mark, (time.time() - age, time.time() - age))
    return folder


def test_a_draft_being_written_stays_and_a_killed_ones_goes(tmp_path: Path, writer: int) -> None:
    store = Store(tmp_path)
    name = f"{KIND}-{ID[:16]}-{writer}"
    assert store.sweep() == 0
    assert _drafts(tmp_path) == [name, name]  # the folder and its mark
    _end(writer)
    assert store.sweep() == 1
    assert _drafts(tmp_path) == []


def test_the_same_without_locks(tmp_path: Path, writer: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", _no_locks)
    assert Store(tmp_path).sweep() == 0
    _end(writer)
    assert Store(tmp_path).sweep() == 1


def test_a_process_that_cannot_be_seen_from_here_is_known_by_its_lock(
    tmp_path: Path, writer: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owners, "_started", lambda _: "ended")  # as in another container of the same machine
    assert Store(tmp_path).sweep() == 0
    _end(writer)
    assert Store(tmp_path).sweep() == 1


def test_ones_own_draft_stays(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.draft(KIND, ID) as draft:
        assert store.sweep() == 0
        assert draft.folder.is_dir()
    assert list((tmp_path / "store" / ".drafts").iterdir()) == []


def test_a_process_id_that_is_used_again_is_another_process(tmp_path: Path) -> None:
    folder = _mark(tmp_path, f"{os.getpid()} {owners._boot()} 1")
    assert Store(tmp_path).sweep() == 1
    assert not folder.exists()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(f"{os.getpid()} another-boot 1", 7 * 24 * 3600), ("", 3600), ("nonsense", 3600)],
    ids=["own", "empty", "nonsense"],
)
def test_of_another_boot_or_unfinished_only_what_is_old_goes(tmp_path: Path, text: str, seconds: float) -> None:
    folder = _mark(tmp_path, text)
    mark = folder.with_name("left-behind.owner")
    for age in (0.0, seconds / 2):
        os.utime(mark, (time.time() - age,) * 2)
        assert Store(tmp_path).sweep() == 0
        assert folder.is_dir()
    os.utime(mark, (time.time() - 2 * seconds,) * 2)
    assert Store(tmp_path).sweep() == 1
    assert not folder.exists()


def test_what_was_moved_aside_for_another_goes_with_its_draft(tmp_path: Path) -> None:
    folder = _mark(tmp_path, f"{os.getpid()} {owners._boot()} 1")
    aside = folder.with_name("left-behind.old")
    aside.mkdir()
    Store(tmp_path).sweep()
    assert list(folder.parent.iterdir()) == []


@pytest.mark.parametrize("state", ["running", "ended"])
def test_a_system_without_proc(tmp_path: Path, writer: int, monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    class NoProc:
        def __init__(self, _: str) -> None: ...

        def read_text(self, **_: str) -> str:
            raise FileNotFoundError

    monkeypatch.setattr(owners, "Path", NoProc)
    folder = _mark_next_to(tmp_path, f"{writer} {owners._name(writer).split()[1]} running")
    if state == "ended":
        _end(writer)
    Store(tmp_path).sweep()
    assert folder.exists() == (state == "running")


def _mark_next_to(root: Path, text: str) -> Path:
    folder = root / "store" / ".drafts" / "elsewhere"
    folder.mkdir()
    folder.with_name("elsewhere.owner").write_text(text, encoding="utf-8")
    return folder
