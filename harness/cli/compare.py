"""``harness compare``: two rows, prompt by prompt."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.opened import opened
from harness.cli.options import results_option
from harness.errors import InputError, suggest
from harness.report.page.index import known_runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.cli.opened import Opened
    from harness.report.comparison.sides import Side
    from harness.report.comparison.unlike import Unlike

#: Fields that one may compare over: as ``harness.report.comparison.unlike.PASSABLE``, which is not imported for help.
ANYWAY = ("budget", "device", "model", "training-data")


@click.command(short_help="Compare two rows, of one run or of two, prompt by prompt.")
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@results_option
@click.option("--row", metavar="ROW", help="The row of both runs, where A and B name runs alone.")
@click.option("--model", metavar="MODEL", help="Of which model, where several have a row of this name.")
@click.option("--data", multiple=True, metavar="LABEL", help="Only on this data set; may be repeated.")
@click.option("--decoding", multiple=True, metavar="NAME", help="Only under this decoding; may be repeated.")
@click.option("--metric", multiple=True, metavar="NAME", help="Only by this metric; may be repeated.")
@click.option(
    "--anyway", multiple=True, metavar="FIELD", type=click.Choice(ANYWAY),
    help="Go on though the rows differ in it: budget, device, model or training-data; may be repeated.",
)  # fmt: skip
@click.option("--by", metavar="COLUMN", help="The column of the data that says what kind a prompt is of.")
@click.option(
    "--prompts", type=click.IntRange(min=0), metavar="N", default=5, show_default=True,
    help="How many prompts to name that move a difference most, each way.",
)  # fmt: skip
@click.option("--texts", is_flag=True, help="Show these prompts with both rows' answers.")
@click.option("--full", is_flag=True, help="Print every column of every metric, not the headlines alone.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, which has every column.")
def command(
    first: str, second: str, results: Path, row: str | None, model: str | None, data: tuple[str, ...],
    decoding: tuple[str, ...], metric: tuple[str, ...], anyway: tuple[str, ...], by: str | None, prompts: int,
    texts: bool, full: bool, as_json: bool,
) -> None:  # fmt: skip
    """Compare row A with row B: A minus B, for each data set, decoding and metric.

    A and B are RUN:ROW, where RUN is BENCHMARK/PROFILE below --results, a folder or a bundle: dolly/quick:eso. B may be
    another row of A's run (sft), and both may be runs where --row names the row. Nothing is computed but statistics,
    and nothing is written.

    Rows are refused that were not given the same, and the field is named: data, decoding, metric, template, prompt,
    seeds, model, training data, budget, device. Some of these can be compared over with --anyway.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from harness.report.calculated import Calculated
    from harness.report.comparison import contrasts as compared
    from harness.report.comparison import said
    from harness.report.comparison.unlike import notes, refused, unlike

    with contextlib.ExitStack() as stack:
        ours, theirs, folder = _sides(stack, results, first, second, row, model)
        chosen = compared.places(ours, theirs, {"data": data, "decoding": decoding, "metric": metric})
        differing = unlike(ours, theirs, chosen)
        if stopping := refused(differing, anyway):
            raise _refusal(stopping, ours, theirs)
        table = Calculated(folder) if ours.results is theirs.results and ours.row.model == theirs.row.model else None
        found = compared.contrasts(ours, theirs, chosen, prompts=prompts, by=by, table=table)
        comparison = said.Comparison(
            ours, theirs, found, differing, notes(ours, theirs),
            said.texts_of(ours, theirs, found) if texts else {}, same_run=ours.results is theirs.results,
        )  # fmt: skip
        if as_json:
            click.echo(json.dumps(said.json_value(comparison), indent=1))
        else:
            click.echo(said.text(comparison, full=full))


def _refusal(found: Sequence[Unlike], ours: Side, theirs: Side) -> InputError:
    fields = list(dict.fromkeys(one.field for one in found))
    passable = [field for field in fields if field in ANYWAY]
    hint = None
    if len(passable) == len(fields):
        hint = f"to compare over it, and have it said: {' '.join(f'--anyway {field}' for field in passable)}"
    listed = "\n  ".join(str(one) for one in found)
    return InputError(f"{ours.name} and {theirs.name} are not alike in {', '.join(fields)}:\n  {listed}", hint=hint)


def _sides(
    stack: contextlib.ExitStack, results: Path, first: str, second: str, row: str | None, model: str | None
) -> tuple[Side, Side, Path]:
    """Return both rows; a run that both are of is read once."""
    from harness.report.comparison.sides import side
    from harness.report.results import load_results

    runs = [_split(results, name) for name in (first, second)]
    if runs[0][0] is None and runs[1][0] is not None:
        runs[0] = (runs[1][0], runs[0][1])
    elif runs[1][0] is None:
        runs[1] = (runs[0][0], runs[1][1])
    places: dict[Path | None, Opened] = {}
    read = {}
    sides = []
    for (run, label), name in zip(runs, (first, second), strict=True):
        if run not in places:
            places[run] = stack.enter_context(opened(results, run))
            read[run] = load_results(places[run].root, places[run].folder)
        chosen = label or row
        if chosen is None:
            labels = ", ".join(dict.fromkeys(found.label for found in read[run].rows))
            raise InputError(
                "which row is meant is not said", where=name, expected=f"RUN:ROW or --row, one of {labels}"
            )
        sides.append(side(name, read[run], chosen, model))
    return sides[0], sides[1], places[runs[0][0]].folder


def _split(results: Path, name: str) -> tuple[Path | None, str | None]:
    """Return the run and the row that a name says; no run where it is a row's name alone."""
    if _is_run(results, Path(name)):
        return Path(name), None
    run, colon, label = name.rpartition(":")
    if colon and run and label:
        if _is_run(results, Path(run)):
            return Path(run), label
        known = [str(found) for found in known_runs(results)]
        expected = f"one of {', '.join(known)}" if known else "a folder, or a bundle"
        raise InputError(
            "there is no such run", where=name, got=run, expected=expected, did_you_mean=suggest(run, known)
        )
    return None, label if colon and label else name


def _is_run(results: Path, run: Path) -> bool:
    if run.is_file():
        return run.suffix == ".zip"
    folders = (results / run, run)
    return any((folder / "manifest.json").is_file() for folder in folders) or (
        run.is_dir() and len(known_runs(run)) == 1
    )
