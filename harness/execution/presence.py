"""Which runs use a store at this moment, and what they are at.

While there are any others, nothing is pruned that they may still need.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import uuid
from typing import TYPE_CHECKING

from harness import disk
from harness.store.files import machine_errors
from harness.store.owners import SUFFIX, abandoned, owned

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.plan import Stage
    from harness.store.stages import Store


class AtWork:
    """What a run is at, told beside its mark; that it cannot be told costs nothing else."""

    def __init__(self, mark: Path | None, executor: str) -> None:
        """Tell it in a file beside the mark; nowhere without one."""
        self.mark = mark
        self._executor = executor
        self._stages: dict[str, dict[str, str | None]] = {}

    def begin(self, stage: Stage, host: str | None = None) -> None:
        """Tell that a stage was handed out or, where its machine is known, that it runs there."""
        if self._executor == "local":
            host = platform.node()
        self._stages[stage.key] = {
            "kind": stage.kind, "stage": stage.label, "executor": self._executor, "host": host,
        }  # fmt: skip
        self._tell()

    def end(self, stage: Stage) -> None:
        """Tell that a stage is over."""
        if self._stages.pop(stage.key, None) is not None:
            self._tell()

    def _tell(self) -> None:
        if self.mark is None:
            return
        with contextlib.suppress(OSError):
            disk.replace_file(_told(self.mark), json.dumps(list(self._stages.values())).encode())


@contextlib.contextmanager
def present(store: Store, executor: str = "local") -> Iterator[AtWork]:
    """Leave a mark in the store while the block runs, beside which the run tells what it is at."""
    mark = _folder(store) / f"{os.getpid()}-{uuid.uuid4().hex[:8]}{SUFFIX}"
    with contextlib.ExitStack() as stack:
        with machine_errors(mark):
            disk.make_folders(mark.parent)
            stack.enter_context(owned(mark))
        stack.callback(disk.remove_file, _told(mark), missing_ok=True)
        yield AtWork(mark, executor)


def others(store: Store, own: Path | None) -> bool:
    """Return whether another run has left its mark and has not ended; marks that were left behind are removed.

    Args:
        store: of the runs.
        own: the mark of the run that asks, where it has one.
    """
    disk.clear_unfinished(_folder(store))
    found = False
    for mark in sorted(_folder(store).glob(f"*{SUFFIX}")):
        if mark == own:
            continue
        with abandoned(mark) as left:
            if left:
                with contextlib.suppress(OSError):  # a folder that may not be written to
                    disk.remove_file(_told(mark), missing_ok=True)
                    disk.remove_file(mark, missing_ok=True)
            else:
                found = True
    return found


def at_work(store: Store) -> list[dict[str, str | None]]:
    """Return kind, label, executor and machine of every stage that a run is at; no machine where it waits for one."""
    found: list[dict[str, str | None]] = []
    for mark in sorted(_folder(store).glob(f"*{SUFFIX}")):
        with abandoned(mark) as left, contextlib.suppress(OSError, ValueError):
            if not left:
                found += json.loads(_told(mark).read_text(encoding="utf-8"))
    return found


def _told(mark: Path) -> Path:
    return mark.with_suffix(".json")


def _folder(store: Store) -> Path:
    return store.base / ".runs"
