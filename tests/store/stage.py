"""A small stage of every kind of file, and children that end at a chosen file operation."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from typing import TYPE_CHECKING, Any

from harness.disk import by_library
from harness.store.stages import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from harness.store.records import Record

KIND, ID = "train", "ab" * 32
ENVIRONMENT = {"threads": 1, "device": "cpu", "ranks": 1}
FILES: Mapping[str, bytes] = {
    "train.jsonl": b'{"step": 0, "loss": 1.5}\n{"step": 1, "loss": 1.25}\n',
    "summary.json": b'{"steps": 2}\n',
    "checkpoint/model.safetensors": bytes(range(256)) * 8,
    "checkpoint/sub/tokenizer.json": b'{"a": "\\u00e9"}\n',
    "optimizer.safetensors": bytes(range(64, 128)),
}
CHANGES = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink"}


def make(
    root: Path,
    *,
    environment: Mapping[str, Any] = ENVIRONMENT,
    changes: Mapping[str, bytes | None] | None = None,
) -> Record:
    """Commit the stage below ``root``; ``changes`` replaces files by their stem, None leaves one out."""
    store = Store(root)
    with store.draft(KIND, ID) as draft:
        with by_library(draft.folder):
            for name, content in FILES.items():
                stem = name.rpartition("/")[2].partition(".")[0]
                text = (changes or {}).get(stem, content)
                if text is not None:
                    (draft.folder / name).parent.mkdir(parents=True, exist_ok=True)
                    (draft.folder / name).write_bytes(text)
        return store.commit(
            draft,
            config={"seed": 0},
            environment=environment,
            label="tiny/sft/seed 0",
            measured=["train.jsonl", "summary.json"],
        )


def content(record: Record) -> dict[str, bytes]:
    """Read every file of a record but the environment's, each checked."""
    names = [name for name in record.manifest["files"] if record.holds(name)]
    return {name: record.path(name).read_bytes() for name in names}


def in_child(action: Callable[[], object], *, die_at: int = 0) -> int:
    """Do ``action`` in a child process that is killed at its ``die_at``-th change of the file system; 0: never.

    Returns:
        The child's exit status: 0, or minus the number of the signal that ended it.
    """
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            if die_at:
                _kill_at(die_at)
            action()
            status = 0
        except BaseException:  # noqa: BLE001  # what failed in a child is told by its status
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _kill_at(number: int) -> None:
    """Send SIGKILL to this process just before its ``number``-th change of a file, folder or disk."""
    left = number

    def count() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in CHANGES and (event != "open" or _writes(arguments)):
            count()

    fsync = os.fsync

    def counted(descriptor: int) -> None:
        count()
        fsync(descriptor)

    os.fsync = counted  # type: ignore[assignment]  # called with a number alone
    sys.addaudithook(hook)


def _writes(arguments: tuple[Any, ...]) -> bool:
    return bool(arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
