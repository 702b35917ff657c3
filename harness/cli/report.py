"""``harness report``: the tables again, from the store."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from harness.cli import terminal
from harness.cli.opened import find_run, known_runs
from harness.cli.options import plugin_option, results_option
from harness.errors import InputError

__all__ = ["command", "find_run", "known_runs"]


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
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Where the tables of a bundle, or of several runs together, are written; they are only printed without it.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["lm-eval"]),
    help="Also write results in another harness's form: lm-eval/MODEL-ROW.json in the run's folder, one file a row.",
)
def command(
    runs: tuple[Path, ...],
    results: Path,
    publishing: bool,
    partial: bool,
    claims: bool,
    full: bool,
    as_json: bool,
    into: Path | None,
    form: str | None,
) -> None:
    """Write the tables of RUN again, from what is stored, and print the headline and what it says.

    RUN is BENCHMARK/PROFILE below --results, or a folder; it may be left out where there is only one. Nothing is
    computed again and no model is loaded. Where the store lacks a stage that the run has made, nothing is written
    without --partial; where the folder may not be written to, the tables are printed alone. With --claims several runs
    may be named, and none means all.

    RUN may be a bundle (see harness bundle). Of several runs and bundles one leaderboard is made; rows that were not
    given the same are refused, and each field is named in which they differ.
    """
    # many small products of matrices, for which threads would wait longer for each other than they calculate
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from harness.report.brief import brief
    from harness.report.publish import publish
    from harness.report.verdicts import across, claims_json, claims_text
    from harness.report.write import make_tables, write_if_allowed

    if claims:
        folders = [find_run(results, run) for run in runs] or [results / run for run in known_runs(results)]
        verdicts = across(results, folders)
        click.echo(_ascii(claims_json(verdicts)) if as_json else claims_text(verdicts))
        return
    if len(runs) > 1 or any(run.is_file() for run in runs) or into is not None:
        if publishing or form:
            raise InputError("is of one run in its own folder", where="--publish" if publishing else "--format")
        from harness.cli.merging import report_merged

        report_merged(results, runs, into, partial=partial, full=full, as_json=as_json)
        return
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
    if form:
        from harness.report.lm_eval import write_rows

        click.echo(f"{len(write_rows(tables.results, folder))} files in {folder / 'lm-eval'}", err=True)
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
