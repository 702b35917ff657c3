"""Which other runs use a store at this moment: while there are any, nothing is let go that they may still need."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from harness.store.files import machine_errors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.store import Store

#: Seconds after which the mark of a process that cannot be asked (another machine, an earlier boot) counts no more.
_STALE = 7 * 24 * 3600.0


@contextlib.contextmanager
def present(store: Store) -> Iterator[None]:
    """Leave a mark in the store while the block runs."""
    folder = _folder(store)
    mark = folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
    with machine_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        mark.write_text(_alive(os.getpid()), encoding="utf-8")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            mark.unlink(missing_ok=True)


def others(store: Store) -> bool:
    """Return whether another process is in the middle of a run; marks of processes that ended are removed."""
    found = False
    for mark in sorted(_folder(store).glob("*")):
        with contextlib.suppress(OSError, ValueError):
            said = mark.read_text(encoding="utf-8")
            pid, boot, _ = said.split()
            here = boot == _boot()
            if here and said == _alive(os.getpid()):
                continue
            if said != _alive(int(pid)) if here else time.time() - mark.stat().st_mtime > _STALE:
                mark.unlink(missing_ok=True)
            else:
                found = True
    return found


def _folder(store: Store) -> Path:
    return store.base / ".runs"


def _alive(pid: int) -> str:
    """Return pid, boot and start time of a process: a pid that was given again has another start time."""
    try:
        started = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        started = "ended"
    return f"{pid} {_boot()} {started}"


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return "unknown-boot"
