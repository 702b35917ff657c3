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
    are files that open from disk; `harness report RUN` makes them again.
    """
    from harness.cli.opened import find_run
    from harness.report.page.index import known_runs

    if run is not None and known_runs(run):
        results, run = run, None
    only = known_runs(results) if run is None else []
    if run is None and len(only) != 1:
        page = _index(results)
    else:
        page = find_run(results, run) / "leaderboard.html"
        if not page.is_file():
            raise InputError("the run has no page yet", where=str(page), hint=f"harness report {page.parent} makes it")
    click.echo(page)
    if not printing:
        import webbrowser

        if not webbrowser.open(page.resolve().as_uri()):
            click.echo("warning: no browser could be started: open the file named above", err=True)


def _index(results: Path) -> Path:
    """Write the page over all results, or return the one that is there where nothing may be written."""
    from harness.report.page.index import INDEX, known_runs, write_index

    if not known_runs(results) and not known_runs(results / "published"):
        raise InputError("no run has left its results there", where=str(results))
    try:
        return write_index(results)
    except StorageError as error:
        if not error.read_only or not (results / INDEX).is_file():
            raise
        return results / INDEX
