"""Checkpoints of the points of a budget that are evaluated before its end.

They are written where the state of an unfinished segment lies, so that they outlive a process that is killed, and are
handed over with the result. A segment that goes on from a state before a point, or starts again, writes that point
again: the same weights, since a segment is deterministic.
"""

from __future__ import annotations

import shutil
import uuid
from typing import TYPE_CHECKING

from harness.errors import StageError
from harness.spec.results.files import POINTS
from harness.training import checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from harness.lm.model.policy import Policy
    from harness.spec.budget import BudgetPoint


class PointCheckpoints:
    """The checkpoints of one segment's points."""

    def __init__(self, place: Path) -> None:
        """Keep them below ``place``."""
        self._folder = place / POINTS

    def save(self, points: Iterable[BudgetPoint], policy: Policy) -> None:
        """Write the policy as it is for each of some points."""
        for point in points:
            target = self._folder / point.folder
            draft = self._folder / f".{point.folder}.{uuid.uuid4().hex}"
            with checkpoint.writing(self._folder):
                draft.mkdir(parents=True)
                policy.save(draft)
                shutil.rmtree(target, ignore_errors=True)
                draft.rename(target)

    def check(self, points: Iterable[BudgetPoint]) -> None:
        """Raise StageError where one of these has no checkpoint."""
        for point in points:
            if not (self._folder / point.folder).is_dir():
                raise StageError(
                    f"the checkpoint at {point.name} is gone that an unfinished state was kept with",
                    where=str(self._folder),
                    hint=f"remove {self._folder.parent}: the stage then starts again",
                )

    def hand_over(self, folder: Path) -> None:
        """Put all of them into the folder of the result."""
        if not self._folder.is_dir() or self._folder.parent == folder:
            return
        with checkpoint.writing(folder):
            for draft in self._folder.glob(".*"):
                shutil.rmtree(draft, ignore_errors=True)
            shutil.move(self._folder, folder / POINTS)
