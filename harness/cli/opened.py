"""What a command's RUN means: a run below --results, a folder, or a bundle, which is unpacked meanwhile."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

import click

from harness.errors import InputError
from harness.report.page.index import known_runs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from harness.report.written import Written


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


def find_run(results: Path, run: Path | None) -> Path:
    """Return the folder of a run: results, then the benchmark, then its profile.

    Raises:
        InputError: there is none, or more than one and none was named.
    """
    known = known_runs(results)
    listed = f"one of {', '.join(map(str, known))}" if known else None
    if run is None:
        if len(known) == 1:
            return results / known[0]
        what = "there are several runs: say which" if known else "no run has left its results there"
        raise InputError(what, where=str(results), expected=listed)
    for folder in (results / run, run.resolve()):
        if (folder / "manifest.json").is_file():
            return folder
    what = "there is no such run" if known else "no run has left its results there"
    raise InputError(what, where=str(results), got=str(run), expected=listed)


def asked(results: Path, runs: Sequence[Path]) -> list[Path]:
    """Return the folders of the runs that were named, of every run where none was."""
    return [find_run(results, run) for run in runs] or [results / run for run in known_runs(results)]


def warn_of_what_lacks(made: Written) -> None:
    """Say on standard error what tables were made without."""
    for damage in made.results.shelf.damaged.values():
        click.echo(f"warning: left out, damaged: {damage}", err=True)
    shelf = made.results.shelf
    if shelf.other_format:
        first = next(iter(shelf.other_format.values()))
        other = f"{len(shelf.other_format)} of {len(shelf.asked)} stages were written by another release ({first})"
        click.echo(f"warning: left out: {other}", err=True)
    if shelf.missing:
        lacking = f"{len(shelf.missing)} of {len(shelf.asked)} stages are not in the store"
        click.echo(f"warning: left out: {lacking}", err=True)
