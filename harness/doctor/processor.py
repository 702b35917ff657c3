"""Cores, threads and devices: what the machine has, and what this process may use of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from harness.doctor.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def check_cores(
    seen: int | None = None, allowed: float | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[Finding]:
    """Compare the cores that there are with those that may be used, and with the threads that are asked for."""
    seen = seen or os.cpu_count() or 1
    allowed = cores_allowed() if allowed is None else allowed
    environment = os.environ if environment is None else environment
    if allowed < seen:
        yield Finding(
            "cores", "notes", f"{allowed:g} of {seen} may be used",
            "an affinity or a quota holds this process back; stages at a time follow the affinity, and a quota that is"
            " smaller makes them wait for each other",
            "--jobs and execution.threads that multiply to no more than what may be used",
        )  # fmt: skip
    else:
        yield Finding("cores", "fine", f"{seen}, all of which may be used")
    asked = environment.get("OMP_NUM_THREADS")
    if asked is not None and not asked.isdigit():
        yield Finding(
            "threads", "warns", f"OMP_NUM_THREADS is {asked!r}", "libraries take it for a number, each in its own way",
            "unset it, or give a whole number: stages set their own from execution.threads",
        )  # fmt: skip
    elif asked is not None and int(asked) > allowed:
        yield Finding(
            "threads", "warns", f"OMP_NUM_THREADS is {asked}, for {allowed:g} cores",
            "threads that outnumber cores wait for each other", "unset it: stages set their own from execution.threads",
        )  # fmt: skip
    else:
        yield Finding("threads", "fine", f"OMP_NUM_THREADS is {asked}" if asked else "OMP_NUM_THREADS is not set")


def cores_allowed(groups: Path = Path("/sys/fs/cgroup")) -> float:
    """Return how many cores this process may use, by its affinity and by the quota of its control group."""
    cores: float = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for quota, period in (_quota(groups),):
        if quota and period:
            cores = min(cores, quota / period)
    return cores


def _quota(groups: Path) -> tuple[int, int]:
    """Return the microseconds of CPU in a period and its length, of either version of control groups; 0 for none."""
    try:
        quota, period = (groups / "cpu.max").read_text(encoding="ascii").split()
        return (0 if quota == "max" else int(quota)), int(period)
    except (OSError, ValueError):
        pass
    try:
        old = [int((groups / "cpu" / f"cpu.cfs_{name}_us").read_text(encoding="ascii")) for name in ("quota", "period")]
    except (OSError, ValueError):
        return 0, 0
    return max(old[0], 0), old[1]


def check_devices() -> Iterator[Finding]:
    """Say which device ``execution.device: auto`` takes, and whether torch can use a GPU that the driver reports."""
    from harness.execution.device import resolve_device

    device = resolve_device("auto")
    if device == "cpu":
        yield Finding("device", "fine", "cpu: no driver of a GPU was found")
        return
    import torch

    if not torch.cuda.is_available():
        yield Finding(
            "device", "prevents", "the driver reports a GPU, and torch cannot use it",
            f"stages would be sent to it (torch {torch.__version__}, built for CUDA {torch.version.cuda})",
            "install a build of torch for this driver, or run with -o execution.device=cpu",
        )  # fmt: skip
        return
    names = ", ".join(torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count()))
    yield Finding("device", "fine", f"{device}: {names}")
