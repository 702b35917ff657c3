"""Checkpoints of the points of a budget that are evaluated before its end.

They are written where the state of an unfinished segment lies, so that they outlive a process that is killed, and stay
there as long as it does: the result has them too. A segment that goes on from a state before a point, or starts again,
writes that point again: the same weights, since a segment is deterministic.
"""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import MachineError, StageError
from harness.spec.results.files import POINTS
from harness.training import checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from harness.lm.model.policy import Policy
    from harness.spec.budget import BudgetPoint


class PointCheckpoints:
    """The checkpoints of one segment's points."""

    def __init__(self, place: Path) -> None:
        """Keep them below ``place``."""
        self._folder = place / POINTS

    def save(self, points: Iterable[BudgetPoint], policy: Policy, state: dict[str, Tensor] | None = None) -> None:
        """Write the policy as it is for each of some points; ``state`` as :meth:`Policy.save` takes it."""
        for point in points:
            target = self._folder / point.folder
            draft = self._folder / f".{point.folder}.{uuid.uuid4().hex}"
            try:
                with checkpoint.writing(self._folder):
                    draft.mkdir(parents=True)
                    policy.save(draft, state)
                    shutil.rmtree(target, ignore_errors=True)
                    draft.rename(target)
            except MachineError:
                if draft.exists():
                    raise
                # another run has finished the same stage, and has cleared this one away

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
        """Put all of them into the folder of the result too; here they stay for a state that may still be gone on from.

        Those that another run of the same stage clears away in this moment, as it has finished, are left out.
        """
        if self._folder.parent == folder:
            return
        with checkpoint.writing(folder):
            for source in sorted(self._folder.glob("[!.]*")):
                target = folder / POINTS / source.name
                try:
                    shutil.copytree(source, target, copy_function=_link)
                except OSError:
                    shutil.rmtree(target, ignore_errors=True)
                    if source.is_dir():
                        raise


def _link(source: str, target: str) -> None:
    try:
        Path(target).hardlink_to(source)
    except OSError:  # not every file system has links
        shutil.copy2(source, target)
