"""``harness report``: the tables again, from the store."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from harness.cli import terminal
from harness.cli.options import plugin_option, results_option
from harness.errors import InputError


@click.command(short_help="Write the tables of a run again, from what is stored.")
@click.argument("runs", metavar="[RUN]...", type=click.Path(path_type=Path), nargs=-1)
@results_option
@click.option(
    "--publish", "publishing", is_flag=True, help="Also write them below published/ in --results, without paths."
)
@click.option(
    "--partial",
    is_flag=True,
    help="Make tables though some of what they come from is not in the store, damaged or of another release.",
)
@plugin_option
@click.option("--claims", is_flag=True, help="Print what the runs say of the papers' claims, and write nothing.")
@click.option("--full", is_flag=True, help="Print every table with its notes, as Markdown.")
@click.option("--json", "as_json", is_flag=True, help="Print leaderboard.json (or the claims) and nothing else.")
def command(
    runs: tuple[Path, ...], results: Path, publishing: bool, partial: bool, claims: bool, full: bool, as_json: bool
) -> None:
    """Write the tables of RUN again, from what is stored, and print the headline and what it says.

    RUN is BENCHMARK/PROFILE below --results, or a folder; it may be left out where there is only one. Nothing is
    computed again and no model is loaded. Where the store lacks a stage that the run has made, nothing is written
    without --partial; where the folder may not be written to, the tables are printed alone. With --claims several runs
    may be named, and none means all.
    """
    # many small products of matrices, for which threads would wait longer for each other than they calculate
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from harness.report.brief import brief
    from harness.report.page.index import known_runs
    from harness.report.publish import publish
    from harness.report.verdicts import across, claims_json, claims_text
    from harness.report.write import make_tables, write_if_allowed

    if claims:
        folders = [find_run(results, run) for run in runs] or [results / run for run in known_runs(results)]
        verdicts = across(results, folders)
        click.echo(_ascii(claims_json(verdicts)) if as_json else claims_text(verdicts))
        return
    if len(runs) > 1:
        raise InputError("tables are of one run; several are for --claims", got=" ".join(map(str, runs)))
    folder = find_run(results, runs[0] if runs else None)
    root = folder.parent.parent
    tables = make_tables(root, folder, partial=partial)
    for damage in tables.results.shelf.damaged.values():
        click.echo(f"warning: left out, damaged: {damage}", err=True)
    shelf = tables.results.shelf
    if shelf.other_format:
        first = next(iter(shelf.other_format.values()))
        other = f"{len(shelf.other_format)} of {len(shelf.asked)} stages were written by another release ({first})"
        click.echo(f"warning: left out: {other}", err=True)
    if shelf.missing:
        lacking = f"{len(shelf.missing)} of {len(shelf.asked)} stages are not in the store"
        click.echo(f"warning: left out: {lacking}", err=True)
    unwritten = write_if_allowed(tables)
    if publishing:
        click.echo(f"published in {publish(root, folder, partial=partial)}", err=True)
    if as_json:
        click.echo(_ascii(tables.files["leaderboard.json"]))
    elif full:
        click.echo(tables.text)
    else:
        click.echo(brief(tables, terminal.width(), terminal.shown))
        click.echo(f"all tables here: harness report {folder} --full")
    if unwritten is not None:
        click.echo(f"warning: the tables are printed and not written: {unwritten}", err=True)


def _ascii(text: str) -> str:
    """Return the same JSON in ASCII: what replaces a quotation mark that a terminal lacks could end a text."""
    return json.dumps(json.loads(text), indent=1)


def find_run(results: Path, run: Path | None) -> Path:
    """Return the folder of a run: results, then the benchmark, then its profile.

    Raises:
        InputError: there is none, or more than one and none was named.
    """
    from harness.report.page.index import known_runs

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
