"""What a command's RUN means: a run below --results, a folder, or a bundle, which is unpacked meanwhile."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from harness.cli.report import find_run, known_runs
from harness.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Opened(NamedTuple):
    """A run whose records can be read."""

    root: Path
    """Where its store lies."""
    folder: Path
    """Where its tables lie."""


@contextlib.contextmanager
def opened(results: Path, run: Path | None) -> Iterator[Opened]:
    """Open a run: ``BENCHMARK/PROFILE`` below the results, a folder, or a bundle.

    Raises:
        InputError: there is none.
    """
    if run is None or not run.is_file():
        yield in_folder(results, run)
        return
    from harness.store.bundle import unpacked

    with unpacked(run) as root:
        known = known_runs(root)
        if len(known) != 1:
            raise InputError("a bundle holds one run", where=str(run), got=len(known), hint="see harness bundle")
        yield Opened(root, root / known[0])


def in_folder(results: Path, run: Path | None) -> Opened:
    """Return a run that lies in a folder; of a folder with one run below it, that one."""
    if run is not None and run.is_dir() and not any((r / "manifest.json").is_file() for r in (results / run, run)):
        below = known_runs(run)
        if len(below) == 1:
            return Opened(run, run / below[0])
        if below:
            expected = f"one of {', '.join(str(run / known) for known in below)}"
            raise InputError("there are several runs: say which", where=str(run), expected=expected)
    folder = find_run(results, run)
    return Opened(folder.parent.parent, folder)
