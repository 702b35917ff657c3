"""``harness report``: the tables again, from the store."""

from __future__ import annotations

from pathlib import Path

import click

from harness.errors import InputError


@click.command(short_help="Write the tables of a run again, from what is stored.")
@click.argument("run", type=click.Path(path_type=Path), required=False)
@click.option(
    "--results",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Where the store and the tables lie.",
)
@click.option("--publish", "publishing", is_flag=True, help="Also write them below RESULTS/published, without paths.")
@click.option("--json", "as_json", is_flag=True, help="Print leaderboard.json instead of the tables.")
def command(run: Path | None, results: Path, publishing: bool, as_json: bool) -> None:
    """Write the tables of RUN again and print them. RUN is BENCHMARK/PROFILE below --results, or its folder.

    Without RUN: the only run there is. Nothing is computed again and no model is loaded.
    """
    from harness.report import publish, write_tables

    folder = find_run(results, run)
    text = write_tables(results, folder)
    if publishing:
        click.echo(f"published in {publish(results, folder)}", err=True)
    click.echo((folder / "leaderboard.json").read_text(encoding="utf-8") if as_json else text)


def find_run(results: Path, run: Path | None) -> Path:
    """Return the folder of a run.

    Raises:
        InputError: there is none, or more than one and none was named.
    """
    known = sorted(
        path.parent.relative_to(results)
        for path in results.glob("*/*/manifest.json")
        if path.parent.parent.name not in {"store", "published"}
    )
    listed = ", ".join(str(path) for path in known) or "none"
    if run is None:
        if len(known) == 1:
            return results / known[0]
        raise InputError("say which run", where=str(results), expected=f"one of: {listed}")
    for folder in (results / run, run):
        if (folder / "manifest.json").is_file():
            return folder
    raise InputError(
        "no run has left its results there", where=str(results), got=str(run), expected=f"one of: {listed}"
    )
