"""The page of one run: what it says first, every table uncut, and what lies beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from markupsafe import Markup

from harness.report.markdown import shared_lines
from harness.report.page.render import render
from harness.report.page.view import split, views
from harness.report.table import folded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.report.table import Table


class Drawn(Protocol):
    """One picture, as :mod:`harness.report.pictures` draws it."""

    @property
    def name(self) -> str:
        """What its files are called."""

    @property
    def title(self) -> str:
        """What it shows."""

    @property
    def caption(self) -> str:
        """How it is read."""

    @property
    def svg(self) -> str:
        """One ``svg`` element, whose texts are escaped: it becomes a part of the page as it is."""


class File(NamedTuple):
    """A file beside the page."""

    name: str
    says: str


class Beside(NamedTuple):
    """What a page leads to."""

    pages: Sequence[File] = ()
    """For people."""
    downloads: Sequence[File] = ()
    """For programs and papers."""
    citation: str = ""
    """BibTeX."""


NOTHING: Final = Beside()
#: The forms of a leaderboard, and what each is for.
FORMS = (
    File("leaderboard.csv", "every number of the tables, a line each"),
    File("leaderboard.json", "the same with intervals, letters and captions"),
    File("leaderboard.tex", "the tables for a paper"),
    File("leaderboard.md", "the tables as Markdown"),
)
SCORES = File("scores.csv", "every prompt's scores, of every row and seed")
MANIFEST = File("manifest.json", "what was run: settings, data, stages and their digests")
CASES = File("cases.html", "Case studies")


def page(
    title: str,
    notes: Sequence[str],
    tables: Sequence[Table],
    ending: Sequence[str] = (),
    *,
    verdict: Sequence[str] = (),
    pictures: Sequence[Drawn] = (),
    beside: Beside = NOTHING,
) -> str:
    """Return every table, uncut: wide ones scroll under their header.

    Args:
        title: of the benchmark and its profile.
        notes: what was compared.
        tables: in the order in which they are read; pictures follow the first.
        ending: what exactly was run.
        verdict: what the run says, in a sentence or two.
        pictures: each with its data beside the page, in ``pictures/NAME.csv``.
        beside: what the page leads to.
    """
    tables = [folded(table) for table in tables]
    shared = shared_lines(tables)
    said, explained = split(shared)
    return render(
        "leaderboard.html",
        title=title,
        notes=list(notes),
        views=views(tables, shared),
        said=said,
        explained=explained,
        ending=list(ending),
        verdict=list(verdict),
        pictures=[_Picture(each.name, each.title, each.caption, Markup(each.svg)) for each in pictures],  # noqa: S704
        beside=beside,
        root="",
    )


class _Picture(NamedTuple):
    name: str
    title: str
    caption: str
    svg: Markup
