"""Stages in processes of this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.execution.pool import Pool

if TYPE_CHECKING:
    from harness.execution.executors.interface import Opening


def local(opening: Opening) -> Pool:
    """Return a pool of workers, which starts none before there is a stage."""
    return Pool(
        opening.jobs,
        threads=opening.threads,
        ranks=opening.ranks,
        kinds=opening.kinds,
        stall_seconds=opening.stall_seconds,
    )
