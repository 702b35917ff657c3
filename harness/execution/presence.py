"""Which other runs use a store at this moment: while there are any, nothing is pruned that they may still need."""

from __future__ import annotations

import contextlib
import os
import uuid
from typing import TYPE_CHECKING

from harness import disk
from harness.store.files import machine_errors
from harness.store.owners import SUFFIX, abandoned, owned

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.store.stages import Store


@contextlib.contextmanager
def present(store: Store) -> Iterator[Path]:
    """Leave a mark in the store while the block runs, and return its path."""
    mark = _folder(store) / f"{os.getpid()}-{uuid.uuid4().hex[:8]}{SUFFIX}"
    with contextlib.ExitStack() as stack:
        with machine_errors(mark):
            disk.make_folders(mark.parent)
            stack.enter_context(owned(mark))
        yield mark


def others(store: Store, own: Path | None) -> bool:
    """Return whether another run has left its mark and has not ended; marks that were left behind are removed.

    Args:
        store: of the runs.
        own: the mark of the run that asks, where it has one.
    """
    disk.clear_unfinished(_folder(store))
    found = False
    for mark in sorted(_folder(store).glob(f"*{SUFFIX}")):
        if mark == own:
            continue
        with abandoned(mark) as left:
            if left:
                with contextlib.suppress(OSError):  # a folder that may not be written to
                    disk.remove_file(mark, missing_ok=True)
            else:
                found = True
    return found


def _folder(store: Store) -> Path:
    return store.base / ".runs"
