"""``harness report``: the tables again, from the store."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from harness.cli import terminal
from harness.cli.opened import asked, find_run, warn_of_what_lacks
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
@click.option(
    "--paper",
    metavar="NAME",
    help="Print a paper's own tables, with its figures beside those of the runs.",
)
def command(  # one argument an option
    runs: tuple[Path, ...],
    results: Path,
    publishing: bool,
    partial: bool,
    claims: bool,
    full: bool,
    as_json: bool,
    into: Path | None,
    form: str | None,
    paper: str | None,
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
    from harness.report.markdown import markdown
    from harness.report.paper import paper_tables
    from harness.report.publish import publish
    from harness.report.verdicts import across, claims_json, claims_text
    from harness.report.write import make_tables, write_if_allowed

    if claims:
        verdicts = across(results, asked(results, runs))
        click.echo(_ascii(claims_json(verdicts)) if as_json else claims_text(verdicts))
        return
    if paper is not None:
        pages = paper_tables(paper, results, asked(results, runs))
        click.echo(markdown(pages.title, pages.notes, pages.tables))
        return
    if len(runs) > 1 or any(run.is_file() for run in runs) or into is not None:
        alone = {"--publish": publishing, "--format": form}
        if given := next((name for name, set_ in alone.items() if set_), None):
            raise InputError("is of one run in its own folder", where=given)
        from harness.cli.merging import report_merged

        report_merged(results, runs, into, partial=partial, full=full, as_json=as_json)
        return
    folder = find_run(results, runs[0] if runs else None)
    root = folder.parent.parent
    made = make_tables(root, folder, partial=partial)
    warn_of_what_lacks(made)
    unwritten = write_if_allowed(made)
    if publishing:
        click.echo(f"published in {publish(root, folder, partial=partial)}", err=True)
    if form:
        from harness.report.lm_eval import write_rows

        click.echo(f"{len(write_rows(made.results, folder))} files in {folder / 'lm-eval'}", err=True)
    if as_json:
        click.echo(_ascii(made.files["leaderboard.json"]))
    elif full:
        click.echo(made.text)
    else:
        click.echo(brief(made, terminal.width(), terminal.shown))
        click.echo(f"all tables here: harness report {folder} --full")
    if unwritten is not None:
        click.echo(f"warning: the tables are printed and not written: {unwritten}", err=True)


def _ascii(text: str) -> str:
    """Return the same JSON in ASCII: what replaces a quotation mark that a terminal lacks could end a text."""
    return json.dumps(json.loads(text), indent=1)
