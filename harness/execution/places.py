"""Who gets what of a machine: which GPUs each worker has, whether there are enough, and what a plan says of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import InputError, MachineError
from harness.execution import device

if TYPE_CHECKING:
    from harness.spec.benchmark import Benchmark


@dataclass(frozen=True)
class Places:
    """The workers of a run on this machine."""

    device: str
    """``cpu``, ``cuda`` or ``cuda:N``."""
    jobs: int
    """Workers: stages at a time."""
    processes: int
    """Of each training stage."""
    threads: int
    """Of each process."""
    divides: bool
    """Whether these processes divide the weights."""
    cores: int
    gpus: tuple[tuple[str, ...], ...]
    """Those of each worker; empty where nothing is to be shared out."""

    @classmethod
    def of(cls, benchmark: Benchmark, place: str, *, jobs: int | None = None, processes: int = 1) -> Places:
        """Share out what there is.

        Args:
            benchmark: its ``execution`` section counts, and whether it is a timing.
            place: the device that :func:`harness.execution.device.resolve_device` gave.
            jobs: stages at a time; as many as there is room for unless given.
            processes: of each training stage.

        Raises:
            InputError: one GPU is named and several are needed, or weights are to be divided among one process.
            MachineError: there are fewer GPUs than processes.
        """
        execution = benchmark.execution
        jobs = jobs or default_jobs(benchmark, place, processes)
        if execution.shard and processes == 1:
            raise InputError(
                "weights are divided among the processes of a training stage, and it has one",
                where="execution.shard",
                got="true",
                expected="--processes 2 or more, or -o execution.shard=false",
            )
        if place.startswith("cuda:") and jobs * processes > 1:
            raise InputError(
                "one GPU is named, and each process needs one of its own",
                where="execution.device",
                got=f"{place}, {_times(jobs, processes)}",
                expected="cuda, or --jobs 1 and one process",
            )
        found = len(device.gpus()) if place == "cuda" else 0
        if found and processes > found:
            raise MachineError(
                "a stage has more processes than there are GPUs",
                where="--processes",
                got=processes,
                expected=f"at most {found}, or -o execution.device=cpu",
            )
        if found and jobs * processes > found:
            raise MachineError(
                "there are fewer GPUs than processes at a time, and each needs one of its own",
                where="--jobs",
                got=f"{_times(jobs, processes)} on {found} GPU{'s' if found > 1 else ''}",
                expected=f"--jobs {found // processes} at most",
            )
        gpus = gpus_of_workers(place, jobs, processes)
        return cls(place, jobs, processes, execution.threads, execution.shard, _cores(), gpus)

    @property
    def crowded(self) -> bool:
        """Whether more threads run at a time than there are cores."""
        return self.jobs * self.processes * self.threads > self.cores

    def lines(self) -> list[str]:
        """Return who gets what, in words."""
        each = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        text = f"workers: {_times(self.jobs, self.processes)} of {each}, on {self.device}"
        wanted = self.jobs * self.processes * self.threads
        text += f"; {wanted} threads at most on {self.cores} core{'s' if self.cores > 1 else ''}"
        lines = [text + (", which they share: fewer --jobs, --processes or threads are faster" if self.crowded else "")]
        lines += [
            f"worker {number}: GPU {', GPU '.join(names)}" + (", one a process" if len(names) > 1 else "")
            for number, names in enumerate(self.gpus, 1)
        ]
        if self.divides:
            lines.append(f"the weights of what is trained are divided among the {self.processes} processes of a stage")
        return lines

    def to_json(self) -> dict[str, object]:
        """Return plain JSON values."""
        return {
            "device": self.device,
            "jobs": self.jobs,
            "processes": self.processes,
            "threads": self.threads,
            "cores": self.cores,
            "gpus": [list(names) for names in self.gpus],
            "divided": self.divides,
        }


def default_jobs(benchmark: Benchmark, place: str, processes: int) -> int:
    """Return how many stages run at a time: the cores shared out by threads and processes, or the GPUs by processes.

    A timing is made one stage at a time, and so is all work on a GPU that is named.
    """
    if benchmark.timing is not None or place.startswith("cuda:"):
        return 1
    if place == "cuda":
        return max(1, len(device.gpus()) // processes)
    return max(1, _cores() // (benchmark.execution.threads * processes))


def gpus_of_workers(place: str, jobs: int, processes: int) -> tuple[tuple[str, ...], ...]:
    """Return the GPUs that each worker is to see, a GPU a process, by the names that CUDA_VISIBLE_DEVICES has.

    Nothing is shared out on a CPU, where one GPU is named, where PyTorch alone can count them (ROCm), and where there
    are not enough.
    """
    names = device.gpus() if place == "cuda" else ()
    if len(names) < jobs * processes:
        return ()
    return tuple(names[first : first + processes] for first in range(0, jobs * processes, processes))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _times(jobs: int, processes: int) -> str:
    stages = f"{jobs} stage{'s' if jobs > 1 else ''} at a time"
    return f"{stages}, each with {processes} processes" if processes > 1 else f"{stages}, each with a process"
