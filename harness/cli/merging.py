"""``harness report A B``: bundles, and several runs, in one leaderboard."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli import terminal
from harness.cli.opened import opened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.report.written import Written


def report_merged(
    results: Path, runs: Sequence[Path], into: Path | None, *, partial: bool, full: bool, as_json: bool
) -> None:
    """Print the leaderboard of bundles and runs together, and write it where ``into`` says."""
    from harness.report.brief import brief
    from harness.report.merge.merged import Source, merge
    from harness.report.write import make_tables

    with contextlib.ExitStack() as stack:
        places = [stack.enter_context(opened(results, run)) for run in runs]
        target = into or Path("merged")
        if len(places) == 1:
            tables: Written = make_tables(places[0].root, places[0].folder, partial=partial)._replace(folder=target)
        else:
            names = [_name(run, place.folder) for run, place in zip(runs, places, strict=True)]
            sources = [Source(name, *place) for name, place in zip(names, places, strict=True)]
            tables = merge(sources, target)
        if into is not None:
            tables.write()
    if as_json:
        click.echo(json.dumps(json.loads(tables.files["leaderboard.json"]), indent=1))
    elif full:
        click.echo(tables.text)
    else:
        text = brief(tables, terminal.width(), terminal.shown)
        click.echo(text if into is not None else text.rpartition("\n\n")[0])
    if into is None and not as_json:
        click.echo("printed and not written: --into FOLDER writes it", err=True)


def _name(run: Path, folder: Path) -> str:
    return run.stem if run.is_file() else f"{folder.parent.name}/{folder.name}"
