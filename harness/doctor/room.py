"""Memory, swap and disk, beside what a benchmark needs."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness.doctor.finding import Finding, bytes_text
from harness.doctor.speed import read

if TYPE_CHECKING:
    from collections.abc import Iterator


#: Files of a control group with its limit and what is used of it, by either version.
_LIMITS: Final = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)


@dataclass(frozen=True)
class Needs:
    """What is left to do of a benchmark takes."""

    name: str
    disk: int
    """Bytes below the results."""
    memory: int
    """Bytes of as many of its largest stages as run at a time."""
    known: bool = True
    """Whether every stage's size is known before its data are prepared."""


@dataclass(frozen=True)
class Memory:
    """Bytes."""

    total: int
    available: int
    swap: int
    swapped: int


def memory(meminfo: Path = Path("/proc/meminfo"), groups: Path = Path("/sys/fs/cgroup")) -> Memory | None:
    """Return the memory that this process may use, by the system and by its control group; None where nobody says."""
    told = {
        name: int(value.split()[0]) * 1024
        for name, _, value in (line.partition(":") for line in read(meminfo).splitlines())
        if value.strip().endswith("kB")
    }
    if not told:
        return None
    total, available = told.get("MemTotal", 0), told.get("MemAvailable", 0)
    for most, used in _LIMITS:
        limit, now = (read(groups / name).strip() for name in (most, used))
        if limit.isdigit() and now.isdigit() and int(limit) < total:
            # pages of files count as used, and are given back when they are wanted
            kept = dict(line.split() for line in read(groups / "memory.stat").splitlines() if len(line.split()) == 2)
            total = int(limit)
            available = min(available, total - int(now) + int(kept.get("inactive_file", 0)))
    swap = told.get("SwapTotal", 0)
    return Memory(total, available, swap, swap - told.get("SwapFree", 0))


def check_memory(found: Memory | None, needs: Needs) -> Iterator[Finding]:
    """Compare the free memory with what a benchmark's stages hold."""
    if found is None:
        yield Finding("memory", "notes", "this system does not say how much memory is free")
        return
    said = f"{bytes_text(found.available)} of {bytes_text(found.total)} free"
    if needs.memory > found.available:
        more = needs.memory > found.total
        yield Finding(
            "memory", "prevents" if more else "warns", f"{said}; {needs.name} needs about {bytes_text(needs.memory)}",
            "a process that the system kills for want of memory loses what it did since its last checkpoint",
            "fewer --jobs, recipe.adapter, a smaller recipe.tokens_per_micro_batch; see harness plan",
        )  # fmt: skip
    else:
        yield Finding("memory", "fine", f"{said}; {needs.name} needs about {bytes_text(needs.memory)}")
    if found.swapped > found.total / 20:
        yield Finding(
            "swap", "warns", f"{bytes_text(found.swapped)} of memory lie on disk",
            "what is swapped out is read a thousand times as slowly", "end what holds memory, or run fewer --jobs",
        )  # fmt: skip


def check_disk(results: Path, needs: Needs, free: int | None = None) -> Iterator[Finding]:
    """Compare the free disk below the results with what a benchmark writes."""
    if free is None:
        free = shutil.disk_usage(existing(results)).free
    said = f"{bytes_text(free)} free for {results}; {needs.name} writes about {bytes_text(needs.disk)}"
    said += "" if needs.known else " and what its data need"
    if needs.disk > free:
        yield Finding(
            "disk", "prevents", said, "a run ends where nothing can be written; what was made until then is kept",
            "recipe.keep: none, another --results DIR, or free space",
        )  # fmt: skip
    elif free < max(2 * needs.disk, 1_000_000_000):
        yield Finding("disk", "warns", said, "little is left for another run", "free space, or another --results DIR")
    else:
        yield Finding("disk", "fine", said)


def existing(path: Path) -> Path:
    """Return the nearest folder above, or at, a path that is there."""
    path = path.absolute()
    return next(place for place in (path, *path.parents) if place.is_dir())
