"""Stages in processes of this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.execution.device import resolve_device
from harness.execution.places import gpus_of_workers
from harness.execution.pool import Pool

if TYPE_CHECKING:
    from harness.execution.executors.interface import Opening


def local(opening: Opening) -> Pool:
    """Return a pool of workers, each with GPUs of its own, which starts none before there is a stage."""
    execution = opening.execution
    return Pool(
        opening.jobs,
        threads=opening.threads,
        ranks=opening.ranks,
        kinds=opening.kinds,
        stall_seconds=opening.stall_seconds,
        gpus=gpus_of_workers(resolve_device(execution.device), opening.jobs, opening.ranks),
    )
