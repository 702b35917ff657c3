"""Whom a run tells what happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.plan import Plan, Stage


#: The number told where a stage fails that was never begun.
NO_WORKER = -1


class Watcher(Protocol):
    """Who is told how the work goes."""

    def planned(self, plan: Plan, todo: list[Stage]) -> None:
        """Say what there is to do; called again when the plan becomes clearer."""

    def started(self, worker: int, stage: Stage) -> None:
        """Say that a worker began a stage."""

    def placed(self, worker: int, stage: Stage, host: str) -> None:
        """Say on which machine of a cluster a stage was begun."""

    def progress(self, worker: int, stage: Stage, done: int, total: int, unit: str, note: str) -> None:
        """Say how far a stage is."""

    def ended(self, worker: int, stage: Stage, seconds: float) -> None:
        """Say that a stage is done."""

    def failed(self, worker: int, stage: Stage, message: str, lost: str) -> None:
        """Say why a stage failed, and what has no result because of it."""

    def warned(self, stage: Stage, rows: Sequence[str], text: str) -> None:
        """Say what a stage warned of, and which rows it concerns; called once a text."""

    def noted(self, text: str) -> None:
        """Say a warning that concerns the whole run."""

    def found(self, stage: Stage) -> None:
        """Say that another run has made a stage meanwhile."""

    def repairing(self, stage: Stage, message: str) -> None:
        """Say that a stage found damage, and that what is damaged will be rebuilt."""

    def rebuilding(self, stage: Stage, reason: str, *, damaged: bool) -> None:
        """Say that a finished stage is rebuilt, and why: it is damaged, or files that are needed were pruned."""

    def retrying(self, stage: Stage, message: str) -> None:
        """Say that a stage's process died, and that the stage is tried once more."""
