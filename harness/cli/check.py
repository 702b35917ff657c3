"""``harness check``: every figure derived again."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import click

from harness.cli.opened import opened
from harness.cli.options import results_option


@click.command(short_help="Derive every figure of a run or a bundle again, and say what differs.")
@click.argument("run", metavar="[RUN]", type=click.Path(path_type=Path), required=False)
@results_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(run: Path | None, results: Path, as_json: bool) -> None:
    """Derive every figure of RUN again from its records, and name what differs; exit code 1 if anything does.

    RUN is BENCHMARK/PROFILE below --results, a folder, or a bundle. Every record is compared with its digest; a row's
    records with what the run asked, and their ids with what they were made from; means with the values of single
    answers; and every number of the tables with what is calculated again. Nothing is written.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from harness.report.audit.audit import audit

    with opened(results, run) as place:
        found = audit(place.root, place.folder)
    if as_json:
        value = {**asdict(found), "findings": [one._asdict() for one in found.findings]}
        click.echo(json.dumps(value, indent=1))
    else:
        for one in found.findings:
            click.echo(str(one))
        for text in found.skipped:
            click.echo(f"not derived: {text}")
        looked = (
            f"{found.records} records, {found.origins} origins, {found.scores} values of answers, "
            f"{found.figures} figures of tables"
        )
        click.echo(f"checked: {looked}: {f'{len(found.findings)} differ' if found.findings else 'all as derived'}")
    if found.findings:
        sys.exit(1)
