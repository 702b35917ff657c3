"""``harness latex``: the tables of a run for a paper."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.opened import asked, find_run, warn_of_what_lacks
from harness.cli.options import plugin_option, results_option
from harness.errors import InputError

if TYPE_CHECKING:
    from harness.report.latex import LayoutName


@click.command("latex", short_help="Print the tables of a run as LaTeX that fits a column or a page.")
@click.argument("runs", metavar="[RUN]...", type=click.Path(path_type=Path), nargs=-1)
@results_option
@click.option(
    "--layout",
    type=click.Choice(["paper", "long", "wide"]),
    default="long",
    show_default=True,
    help="What the tables fit: a column of a two-column paper, a page, a page that is turned.",
)
@click.option("--table", "tables", multiple=True, metavar="NAME", help="This table alone; may be repeated.")
@click.option("--rows", metavar="LABEL,…", help="These rows alone; * stands for anything.")
@click.option(
    "--columns",
    metavar="NAME,…",
    help="The columns of this label, metric (rouge.rougeL) or data set alone; * stands for anything.",
)
@click.option("--digits", type=click.IntRange(0, 9), help="Digits behind the point.")
@click.option("--paper", metavar="NAME", help="A paper's own tables, with its figures beside those of the runs.")
@click.option(
    "--partial",
    is_flag=True,
    help="Make tables though some of what they come from is not in the store, damaged or of another release.",
)
@plugin_option
def command(  # one argument an option
    runs: tuple[Path, ...],
    results: Path,
    layout: LayoutName,
    tables: tuple[str, ...],
    rows: str | None,
    columns: str | None,
    digits: int | None,
    paper: str | None,
    partial: bool,
) -> None:
    """Print the tables of RUN as LaTeX, with booktabs, labels and their notes; nothing is written or computed again.

    RUN is BENCHMARK/PROFILE below --results, or a folder; it may be left out where there is only one. With --paper
    several runs may be named, and none means all.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from harness.report.latex import Selection, latex
    from harness.report.paper import paper_tables
    from harness.report.write import make_tables

    if paper is not None:
        found, prefix = paper_tables(paper, results, asked(results, runs)).tables, paper
    elif len(runs) > 1:
        raise InputError("several runs go together in a paper's own tables alone", where="RUN", expected="--paper NAME")
    else:
        folder = find_run(results, runs[0] if runs else None)
        made = make_tables(folder.parent.parent, folder, partial=partial)
        warn_of_what_lacks(made)
        head = made.document.head
        found, prefix = made.document.tables, f"{head['benchmark']}-{head['profile']}"
    selection = Selection(_listed(rows), _listed(columns), tables, digits)
    click.echo(latex(found, layout=layout, prefix=prefix, selection=selection))


def _listed(text: str | None) -> tuple[str, ...]:
    """Return the parts of a list; a comma within brackets belongs to a name, such as ``eso[coef=0.1,k=4]``."""
    parts = re.split(r",(?![^\[]*\])", text or "")
    return tuple(part.strip() for part in parts if part.strip())
