"""``harness plot``: the pictures of a run as files for papers and talks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from harness.cli.opened import find_run
from harness.cli.options import results_option
from harness.errors import InputError, suggest

if TYPE_CHECKING:
    from harness.report.pictures.every import Picture


@click.command("plot", short_help="Write the pictures of a run as SVG, PDF or PNG, each with its numbers.")
@click.argument("run", metavar="[RUN]", type=click.Path(path_type=Path), required=False)
@results_option
@click.option(
    "--format",
    "forms",
    type=click.Choice(["svg", "pdf", "png"]),
    multiple=True,
    default=("svg",),
    show_default=True,
    help="Which files; may be repeated. PDF and PNG need matplotlib (the extra plot).",
)
@click.option("--only", "names", metavar="NAME,…", multiple=True, help="Only the pictures of these names.")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER",
              help="Where they are written; figures/ in the run's folder by default.")  # fmt: skip
@click.option("--width", type=click.Choice(["column", "page"]), default="page", show_default=True,
              help="As wide as a column of a paper (3.2 inches), or as its page (6.75).")  # fmt: skip
@click.option("--dark", is_flag=True, help="In colours for a dark background.")
@click.option("--partial", is_flag=True, help="Draw what is there, though some is not in the store.")
def command(
    run: Path | None,
    results: Path,
    forms: tuple[Literal["svg", "pdf", "png"], ...],
    names: tuple[str, ...],
    output: Path | None,
    width: str,
    dark: bool,
    partial: bool,
) -> None:
    """Write the pictures of RUN from what is stored, each beside a CSV file with the numbers that are drawn.

    RUN is BENCHMARK/PROFILE below --results, or a folder; it may be left out where there is only one. A picture for
    which a run has no data is left out. The pictures, by their names:

    \b
    differences    each row less the baseline, with adjusted intervals and seeds
    cost           scores over seconds and sampled tokens
    training       reward, loss, entropy and length over the steps
    divergence     KL over the steps; gold and proxy rewards over its root
    phases         seconds a step by phase
    ablation       scores over an option in which alone rows differ
    wins           win rates against every opponent
    reward-model   calibration of the reward model
    categories     scores by category of the prompt
    """  # noqa: D301  # \b is click's: no filling
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from harness.report.calculated import Calculated
    from harness.report.columns import ComparedColumns
    from harness.report.pictures.every import NEEDS, pictures_of
    from harness.report.results import load_results
    from harness.report.write import refuse_missing

    asked = [name.strip() for listed in names for name in listed.split(",") if name.strip()]
    for name in asked:
        if name not in NEEDS:
            expected = f"one of {', '.join(NEEDS)}"
            raise InputError("there is no such picture", where="--only", got=name, expected=expected,
                             did_you_mean=suggest(name, NEEDS))  # fmt: skip
    folder = find_run(results, run)
    root = folder.parent.parent
    loaded = load_results(root, folder, partial=partial)
    if not partial:
        refuse_missing(loaded, root, folder)
    pictures = pictures_of(ComparedColumns(loaded, Calculated(folder)), asked or None)
    made = {picture.name for picture in pictures}
    lacking = [f"{name}: this run lacks what it takes ({NEEDS[name]})" for name in asked if name not in made]
    if not pictures:
        what = "; ".join(lacking) or "this run has nothing that could be drawn"
        raise InputError(what, where=str(folder))
    for line in lacking:
        click.echo(f"warning: left out: {line}", err=True)
    _write(pictures, output or folder / "figures", tuple(dict.fromkeys(forms)), column=width == "column", dark=dark)


def _write(
    pictures: list[Picture], output: Path, forms: tuple[Literal["svg", "pdf", "png"], ...], *, column: bool, dark: bool
) -> None:
    """Write every form of every picture; nothing is written before all of them could be made."""
    from harness.report.pictures.drawing import COLUMN, PAGE
    from harness.report.pictures.layout import lay_out
    from harness.report.pictures.paper import paper
    from harness.store.files import replace_bytes

    files: dict[str, bytes] = {}
    for picture in pictures:
        for form in forms:
            if form == "svg":
                content = picture.svg("dark" if dark else "light", column=column).encode()
            else:
                drawing = lay_out(picture.figure, COLUMN if column else PAGE)
                content = paper(drawing, form, title=picture.title, dark=dark)
            files[f"{picture.name}.{form}"] = content
        files[f"{picture.name}.csv"] = picture.csv.encode()
    for name, content in files.items():
        replace_bytes(output / name, content)
    for picture in pictures:
        click.echo(f"{output / picture.name}.{'|'.join((*forms, 'csv'))}: {picture.title}")
        for note in picture.figure.notes:
            click.echo(f"  {note}")
