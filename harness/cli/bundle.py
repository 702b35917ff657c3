"""``harness bundle``: a run's records in one file."""

from __future__ import annotations

import os
from pathlib import Path

import click

from harness.cli.opened import in_folder
from harness.cli.options import results_option
from harness.errors import InputError


@click.command(short_help="Pack a run's records into one file, without weights.")
@click.argument("run", metavar="[RUN]", type=click.Path(path_type=Path), required=False)
@results_option
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.zip",
    help="The file to write; BENCHMARK-PROFILE.zip by default.",
)  # fmt: skip
@click.option("--no-texts", is_flag=True, help="Put a number in the place of each prompt, reference and answer.")
def command(run: Path | None, results: Path, output: Path | None, no_texts: bool) -> None:
    """Pack what the tables of RUN are made from, without weights: for harness report, compare and check elsewhere.

    RUN is BENCHMARK/PROFILE below --results, or a folder; it may be left out where there is only one. The bundle has
    the manifest, the tables, and of each stage its configuration, environment, scores, answers, prompts and training
    log. Paths, warnings and messages of failures stay behind. The same records give the same bytes.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from harness.report.bundle import make_bundle

    root, folder = in_folder(results, run)
    target = output or Path(f"{folder.parent.name}-{folder.name}.zip")
    if target.suffix != ".zip":
        raise InputError("a bundle's name ends with .zip", where="--output", got=str(target))
    count = make_bundle(root, folder, target, texts=not no_texts)
    click.echo(f"{target}: {count} files, {target.stat().st_size / 1e6:.1f} MB{', no texts' if no_texts else ''}")
