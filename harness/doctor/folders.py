"""The results folder: what may be done in it, on what kind of file system, and how fast."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness.doctor.finding import Finding
from harness.doctor.room import existing
from harness.doctor.speed import read

if TYPE_CHECKING:
    from collections.abc import Iterator

#: File systems that another machine holds.
_NETWORK: Final = frozenset({
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "lustre", "gpfs", "beegfs", "ceph", "afs", "fuse.sshfs", "fuse.s3fs",
    "fuse.gcsfuse", "fuse.rclone", "virtiofs",
})  # fmt: skip
#: Those that end with the machine, or the container.
_FLEETING: Final = frozenset({"tmpfs", "ramfs"})
#: Seconds of one write that is forced to the disk, above which a store of thousands of files is slow.
_SLOW: Final = 0.05
_WRITES: Final = 5


def check_results(results: Path) -> Iterator[Finding]:
    """Write, lock, sync and rename a probe where results lie or would lie, and remove it."""
    folder = existing(results)
    probe = folder / f".harness-doctor-{uuid.uuid4().hex}"
    try:
        yield from _probe(folder, probe, results)
    except OSError as error:
        if results.is_dir() and os.access(results, os.R_OK):
            why = "nothing can be run or written there; harness report prints its tables all the same"
        else:
            why = "nothing can be run there"
        yield Finding(
            "results folder", "prevents", f"{folder}: {error.strerror or error}", why,
            "another --results DIR, or the permission to write there",
        )  # fmt: skip
    finally:
        for left in (probe, probe.with_suffix(".moved")):
            with contextlib.suppress(OSError):  # said above
                left.unlink(missing_ok=True)


def _probe(folder: Path, probe: Path, results: Path) -> Iterator[Finding]:
    began = time.perf_counter()
    for _ in range(_WRITES):
        with probe.open("wb") as stream:
            stream.write(b"x" * 1000)
            stream.flush()
            os.fsync(stream.fileno())
    took = (time.perf_counter() - began) / _WRITES
    age = probe.stat().st_mtime - time.time()
    locks = _locks(probe)
    probe.replace(probe.with_suffix(".moved"))
    where = f"{results}" if folder == results.absolute() else f"{results} (not there yet; {folder} was tried)"
    yield Finding("results folder", "fine", f"{where} can be written to; a file is on disk after {1000 * took:.1f} ms")
    if took > _SLOW:
        yield Finding(
            "results folder", "warns", f"a small file takes {1000 * took:.0f} ms to reach the disk",
            "every record is forced to the disk before the next begins: a stage writes some ten files",
            "a local disk for --results; harness bundle brings a run to the others",
        )  # fmt: skip
    if not locks:
        yield Finding(
            "locking", "warns", "locks do nothing here: two processes hold one at once",
            "results stay right, but two runs may do the same work, and marks of killed runs stay for a week",
            "one run at a time on this folder, or a file system with locks",
        )  # fmt: skip
    if abs(age) > 2:
        yield Finding(
            "clock", "warns", f"the file system's clock differs from this machine's by {age:+.0f} s",
            "marks of killed runs are judged by the age of their files",
            "have both machines take the time from one source",
        )  # fmt: skip
    kind = file_system(folder)
    if kind in _NETWORK:
        yield Finding(
            "file system", "warns", f"{results} lies on {kind}, on another machine",
            "each record is several writes that wait for that machine, and others may see them late",
            "a local disk for --results; harness bundle brings a run to the others",
        )  # fmt: skip
    elif kind in _FLEETING:
        yield Finding(
            "file system", "notes", f"{results} lies on {kind}, in memory",
            "it is gone when the machine is switched off",
            "another --results DIR for what is to stay",
        )  # fmt: skip


def _locks(path: Path) -> bool:
    """Return whether a lock that one holds is refused to another."""
    with path.open("rb") as first, path.open("rb") as second:
        try:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        return False


def file_system(folder: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str | None:
    """Return the kind of file system that a folder lies on; None where the system does not tell."""
    best: tuple[str, str | None] = ("", None)
    for line in read(mounts).splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        if len(fields) < 5 or not after:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[4])
        if folder.is_relative_to(point) and len(point) >= len(best[0]):
            best = (point, after.split()[0])
    return best[1]
