"""All pictures of a run, and the forms of each that need no library."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness.report.export import field
from harness.report.pictures.ablation import ablation
from harness.report.pictures.categories import categories
from harness.report.pictures.cost import cost, phases
from harness.report.pictures.curves import divergence, read_curves, training
from harness.report.pictures.differences import differences
from harness.report.pictures.drawing import COLUMN, PAGE
from harness.report.pictures.judged import reward_model, wins
from harness.report.pictures.layout import lay_out
from harness.report.pictures.source import Source
from harness.report.pictures.svg import Theme, svg

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from harness.report.columns import ComparedColumns
    from harness.report.pictures.figure import Figure

#: Where they lie beside a leaderboard.
FOLDER: Final = "pictures"
#: Every picture that a run may have, in the order of the page, with what it takes.
NEEDS: Final[Mapping[str, str]] = {
    "differences": "a baseline, another row that was trained, and a metric that is a score",
    "cost": "rows that were trained here, and a metric that is a score",
    "training": "a row with a log of its training",
    "divergence": "a row whose training measured its KL, or an overoptimisation section with rows at a distance",
    "phases": "a row with a log of its training",
    "ablation": "rows of one method that differ in one option and in nothing else, and a metric that is a score",
    "wins": "a metric that is a judge",
    "reward-model": "a reward model with held-out pairs",
    "categories": "an evaluation set whose rows have a column of categories, and a metric that is a score",
}


@dataclass(frozen=True)
class Picture:
    """One picture of a run."""

    figure: Figure

    @property
    def name(self) -> str:
        """One of :data:`NEEDS`."""
        return self.figure.name

    @property
    def title(self) -> str:
        """What stands above it."""
        return self.figure.title

    @property
    def caption(self) -> str:
        """What it shows and how it is read, in a sentence or two."""
        return self.figure.caption

    def svg(self, theme: Theme = "both", *, column: bool = False) -> str:
        """Return it as SVG, as wide as a page or as a column.

        With ``page`` it is an element for HTML that has :data:`harness.report.pictures.svg.STYLE` in its style sheet,
        and else a file of its own. The same picture may stand in a page in both widths.
        """
        drawing = lay_out(self.figure, COLUMN if column else PAGE)
        name = f"picture-{self.name}{'-column' if column else ''}"
        return svg(drawing, name=name, title=self.title, caption=self.caption, theme=theme)

    @property
    def csv(self) -> str:
        """The numbers that are drawn, a line each; empty where one is not known, texts as in ``leaderboard.csv``."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(self.figure.frame.columns)
        for line in self.figure.frame.lines:
            writer.writerow(["" if value is None else _number(value) for value in line])
        return stream.getvalue()


def _number(value: str | float) -> object:
    if isinstance(value, str):
        return field(value)
    return f"{value:.8g}"


def picture_files(pictures: Iterable[Picture]) -> dict[str, str]:
    """Return the files of pictures that lie beside a leaderboard, by their names."""
    return {
        f"{FOLDER}/{picture.name}.{form}": text
        for picture in pictures
        for form, text in (("svg", picture.svg()), ("csv", picture.csv))
    }


def file_names() -> set[str]:
    """Return every name that a file of :func:`picture_files` may have."""
    return {f"{FOLDER}/{name}.{form}" for name in NEEDS for form in ("svg", "csv")}


def pictures_of(columns: ComparedColumns, only: Collection[str] | None = None) -> list[Picture]:
    """Return every picture that a run has something for, or those of some names, from its store alone."""
    wanted = NEEDS if only is None else only
    source = Source(columns)
    curved = {"training", "divergence"} & set(wanted)
    curves = read_curves(columns.results.rows) if curved else {}
    makers: Mapping[str, Callable[[], Figure | None]] = {
        "differences": lambda: differences(source),
        "cost": lambda: cost(source),
        "training": lambda: training(source, curves),
        "divergence": lambda: divergence(source, curves),
        "phases": lambda: phases(source),
        "ablation": lambda: ablation(source),
        "wins": lambda: wins(source),
        "reward-model": lambda: reward_model(source),
        "categories": lambda: categories(source),
    }
    made = (makers[name]() for name in NEEDS if name in wanted)
    return [Picture(figure) for figure in made if figure is not None]
