"""``harness view``: the page of a run, or the one over all results, in a browser."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.options import results_option
from harness.errors import InputError, StorageError


@click.command(short_help="Open the page of a run, or the one over all results.")
@click.argument("run", metavar="[RUN]", type=click.Path(path_type=Path), required=False)
@results_option
@click.option("--print", "printing", is_flag=True, help="Print the page's path and open nothing.")
def command(run: Path | None, results: Path, printing: bool) -> None:
    """Open the page of RUN in a browser; without RUN, the page over all results, or that of the only run.

    RUN is BENCHMARK/PROFILE below --results, the folder of a run (a published one too), or a folder of results. Pages
    are files: they are opened from disk, and `harness report RUN` makes them again.
    """
    from harness.cli.report import find_run
    from harness.report.page.index import INDEX, known_runs, write_index

    folder = run if run is not None and known_runs(run) else results
    if (run is None or folder is run) and len(known_runs(folder)) != 1:
        if not known_runs(folder):
            raise InputError("no run has left its results there", where=str(folder))
        try:
            page = write_index(folder)
        except StorageError as error:
            page = folder / INDEX
            if not error.read_only or not page.is_file():
                raise
    else:
        page = find_run(folder, None if folder is run else run) / "leaderboard.html"
        if not page.is_file():
            raise InputError("the run has no page yet", where=str(page), hint=f"harness report {page.parent} makes it")
    click.echo(page)
    if not printing and not _open(page):
        click.echo("warning: no browser could be started: open the file named above", err=True)


def _open(page: Path) -> bool:
    import webbrowser

    return webbrowser.open(page.resolve().as_uri())
