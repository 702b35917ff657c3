"""Which process a draft belongs to, and whether it still runs.

The owner holds a lock on the draft's mark while it writes: the kernel gives it back when the process ends, however it
ends, and that reaches across containers and, on most network file systems, across machines. Where locks do nothing,
process id, boot and start time decide. In doubt a draft stays: it costs disk, and removing a live one costs hours.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from harness import disk

if TYPE_CHECKING:
    from collections.abc import Iterator

SUFFIX = ".owner"

#: After this long a mark of another boot, or of another machine whose locks do not reach here, counts as left behind.
_OLD_SECONDS = 7 * 24 * 3600

#: The same for a mark that is not whole: a power failure took its content, or another machine's is not here yet.
_UNFINISHED_SECONDS = 3600


@contextlib.contextmanager
def owned(mark: Path) -> Iterator[None]:
    """Write this process's name into ``mark`` and hold its lock; remove it at the end."""
    descriptor = disk.lock_file(mark, _name(os.getpid()).encode())
    try:
        yield
    finally:
        try:
            disk.remove_file(mark, missing_ok=True)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def abandoned(mark: Path) -> Iterator[bool]:
    """Give whether the owner of ``mark`` has ended; inside, no other process can come to the same answer."""
    try:
        stream = mark.open(encoding="utf-8")
    except OSError:  # it ended in this moment, and has cleared up
        yield False
        return
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:
            pass  # no locks here: what the mark says decides
        yield _ended(mark, stream.read())


def _ended(mark: Path, name: str) -> bool:
    pid, _, rest = name.partition(" ")
    if pid.isdigit() and rest.partition(" ")[0] == _boot():
        return name != _name(int(pid))
    whole = len(name.split()) == len(_name(os.getpid()).split())
    try:  # another boot, another machine, or a mark without its content
        return time.time() - mark.stat().st_mtime > (_OLD_SECONDS if whole else _UNFINISHED_SECONDS)
    except OSError:
        return False


def _name(pid: int) -> str:
    """Return pid, boot and start time of a process: a reused pid has another start time."""
    return f"{pid} {_boot()} {_started(pid)}"


def _started(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        pass
    try:  # a system without /proc
        os.kill(pid, 0)
    except ProcessLookupError:
        return "ended"
    except OSError:
        pass
    return "running"


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return "unknown-boot"
