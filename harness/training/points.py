"""Checkpoints of the points of a budget that are evaluated before its end.

They are written where the state of an unfinished segment lies, so that they outlive a process that is killed, and stay
there as long as it does: the result has them too. A segment that goes on from a state before a point, or starts again,
writes that point again: the same weights, since a segment is deterministic.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from harness import disk
from harness.errors import MachineError, StageError
from harness.spec.results.files import POINTS
from harness.training import checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from harness.lm.model.policy import Policy
    from harness.spec.budget import BudgetPoint

#: Bytes that are copied at a time.
_BLOCK = 1 << 20


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
                    disk.make_folders(draft)
                    with disk.by_library(draft):
                        policy.save(draft, state)
                    disk.sync_tree(draft)  # what a state is kept with outlives a power failure, as the state does
                    disk.remove_tree(target)
                    disk.rename(draft, target)
                    disk.sync(self._folder)
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
                    _copy(source, target)
                except OSError:
                    disk.remove_tree(target)
                    if source.is_dir():
                        raise


def _copy(source: Path, target: Path) -> None:
    """Give a folder's files a second name below another folder, or copy them where the file system has no links."""
    disk.make_folders(target)
    for entry in os.scandir(source):
        place = target / entry.name
        if entry.is_dir():
            _copy(Path(entry.path), place)
            continue
        try:
            disk.link(Path(entry.path), place)
        except OSError:
            with Path(entry.path).open("rb") as stream:
                disk.write_pieces(place, iter(lambda: stream.read(_BLOCK), b""))  # read at once
