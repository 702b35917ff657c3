"""How fast a product of matrices is here, and what keeps it from being as fast as the processor could make it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness.doctor.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Single-precision operations a cycle and core, by the widest instructions that ``/proc/cpuinfo`` names: two units that
#: multiply and add, of 16, 8 or 4 numbers each (vendors' optimisation manuals).
_A_CYCLE: Final = (("avx512f", 64), ("avx2", 32), ("asimd", 16), ("sse2", 8))
#: Share of the peak below which something is in the way. Well-tuned libraries reach more than half.
_SLOW: Final = 0.25
#: Rows of the matrices: enough for a library's blocks, and little enough for a laptop's memory.
_SIZE: Final = 1024


@dataclass(frozen=True)
class Measured:
    """Speeds of a product."""

    one: float
    """Operations a second on one thread."""
    all: float
    """On all the threads that may be used."""
    threads: int
    ran: float
    """Share of the time in which this process had a core, on one thread."""


def measure(threads: int, seconds: float = 0.4) -> Measured:
    """Multiply matrices with torch, on one thread and on all."""
    import torch

    before = torch.get_num_threads()
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(_SIZE, _SIZE, generator=generator) for _ in range(2))
    speeds, ran = [], 0.0
    try:
        for count in (threads, 1):
            torch.set_num_threads(count)
            left @ right  # the first allocates
            began, cpu, done = time.perf_counter(), time.process_time(), 0
            while not done or time.perf_counter() - began < seconds:
                left @ right
                done += 1
            took = time.perf_counter() - began
            speeds.append(2.0 * _SIZE**3 * done / took)
            ran = (time.process_time() - cpu) / took
    finally:
        torch.set_num_threads(before)
    return Measured(one=speeds[1], all=speeds[0], threads=threads, ran=min(1.0, ran))


def peak(cpuinfo: str, frequency: float | None = None) -> float | None:
    """Return the operations a second that one core could do; None where the processor does not say enough."""
    lines = [line.partition(":") for line in cpuinfo.splitlines()]
    flags = next((value.split() for name, _, value in lines if name.strip() in {"flags", "Features"}), [])
    clock = max((float(value) * 1e6 for name, _, value in lines if name.strip() == "cpu MHz"), default=None)
    clock = frequency or clock
    a_cycle = next((count for flag, count in _A_CYCLE if flag in flags), None)
    return clock * a_cycle if clock and a_cycle else None


def check_speed(measured: Measured, best: float | None, load: float | None = None) -> Iterator[Finding]:
    """Compare a speed with the processor's peak ``best`` (operations a second and core)."""
    load = os.getloadavg()[0] if load is None else load
    said = f"{measured.all / 1e9:,.0f} GFLOP/s on {measured.threads} threads, {measured.one / 1e9:,.0f} on one"
    said += f"; a core could do about {best / 1e9:,.0f}" if best else ""
    if measured.ran < 0.8:
        yield Finding(
            "speed", "warns", f"{said}; this process had a core for {measured.ran:.0%} of the time",
            f"others use the processor (load {load:.1f}) or a quota holds it back: runs take longer than planned",
            "let the others end, or give the run cores of its own",
        )  # fmt: skip
    elif best and measured.one < _SLOW * best:
        yield Finding(
            "speed", "warns", said,
            f"one thread reaches {measured.one / best:.0%} of what the processor should do: a build of torch without"
            " its fast instructions, an emulator, or a processor that is kept slow",
            "install torch's own wheel for this processor; look at power saving and at what else runs",
        )  # fmt: skip
    elif measured.threads > 1 and measured.all < 1.2 * measured.one:
        yield Finding(
            "speed", "warns", said,
            "more threads are hardly faster than one: the cores are shared, or one core's two threads",
            "execution.threads: 1, and more stages at a time (--jobs)",
        )  # fmt: skip
    else:
        yield Finding("speed", "fine", said)


def frequency(folder: Path = Path("/sys/devices/system/cpu/cpu0/cpufreq")) -> float | None:
    """Return the highest clock of a core in cycles a second, where the system tells it."""
    try:
        return float((folder / "cpuinfo_max_freq").read_text(encoding="ascii")) * 1e3
    except (OSError, ValueError):
        return None


def read(path: Path) -> str:
    """Return a file of the system's, empty where it has none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
