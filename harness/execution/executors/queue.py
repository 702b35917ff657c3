"""What SLURM is asked for a job, and what it says of one."""

from __future__ import annotations

import contextlib
import getpass
import os
import subprocess
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from harness.execution.executors.interface import Needs
    from harness.spec.execution import Slurm

#: What ``sacct`` says of a job that may still say something itself.
ALIVE = frozenset(
    {"READY", "PENDING", "RUNNING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "CONFIGURING", "COMPLETING", "RESIZING",
     "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "SPECIAL_EXIT"}
)  # fmt: skip
#: How a job ended without a word, and what that says of its stage.
ENDS = {
    "TIMEOUT": ("lost", "its job ran out of time (execution.slurm.minutes)"),
    "PREEMPTED": ("lost", "its job was preempted"),
    "NODE_FAIL": ("lost", "the node of its job is gone"),
    "BOOT_FAIL": ("lost", "the node of its job did not start"),
    "REVOKED": ("lost", "its job was taken away"),
    "OUT_OF_MEMORY": ("died", "its job used more memory than it had asked for (execution.memory_gb)"),
    "CANCELLED": ("failed", "somebody cancelled its job"),
    "DEADLINE": ("failed", "its job could not end before its deadline"),
    "FAILED": ("died", "its job failed before it could say why"),
}
#: Lines of a job's log in a message.
_LINES = 5


def parameters(wanted: Slurm, needs: Needs) -> dict[str, Any]:
    """Return what ``sbatch`` is asked, in submitit's words."""
    named = {name: getattr(wanted, name) for name in ("partition", "account", "qos", "constraint")}
    more = {name: True if value == "true" else value for name, value in wanted.options.items()}
    asked: dict[str, Any] = {
        **{name: value for name, value in named.items() if value is not None},
        "time": wanted.minutes,
        "cpus_per_task": needs.cpus,
        "stderr_to_stdout": True,
        "additional_parameters": {"requeue": True, **more},
    }
    if needs.memory is not None:
        asked["mem"] = f"{-(-needs.memory // 1_000_000)}M"
    if needs.gpus:
        asked["gpus_per_node"] = needs.gpus
    if wanted.setup:
        asked["setup"] = list(wanted.setup)
    return asked


def queued_jobs() -> set[str]:
    """Return the jobs of this user that the queue holds."""
    command = ["squeue", "--noheader", "--format=%A", f"--user={getpass.getuser()}"]
    try:
        said = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return set()
    return set(said.split())


def runs(job: Any) -> bool:
    """Return whether a job of this machine runs, whoever started it."""
    if job._process is not None:  # noqa: SLF001  # submitit has no question for it that does not wait
        return job._process.poll() is None  # noqa: SLF001  # as above
    try:
        os.kill(int(job.job_id), 0)
    except OSError:
        return False
    return True


def log_of(folder: Path) -> str:
    """Return the last lines of what a job printed, for a message."""
    lines: list[str] = []
    for path in sorted(folder.glob("*_log.out")):
        with contextlib.suppress(OSError):
            lines += path.read_text(encoding="utf-8", errors="replace").splitlines()
    said = [line for line in lines if line.strip() and not line.startswith("submitit ")][-_LINES:]
    return "".join(f"\n  {line}" for line in said)
