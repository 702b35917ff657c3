"""The page of one run: what it says first, every table uncut, and what lies beside it."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol

from markupsafe import Markup

from harness.report.markdown import shared_lines
from harness.report.page.render import render
from harness.report.page.view import split, views
from harness.report.table import folded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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

    def svg(self, theme: Literal["page"], *, column: bool) -> str:
        """Return one ``svg`` element, as wide as a page or as a phone; its texts are escaped, for it is not changed."""


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
    setup: Mapping[str, str] = MappingProxyType({}),
    pictures: Sequence[Drawn] = (),
    picture_style: str = "",
    beside: Beside = NOTHING,
) -> str:
    """Return every table, uncut: wide ones scroll under their header.

    Args:
        title: of the benchmark and its profile.
        notes: what was compared.
        tables: in the order in which they are read; pictures follow the first.
        ending: what exactly was run.
        verdict: what the run says, in a sentence or two.
        setup: what the run was, by the name of each part.
        pictures: each with its files beside the page, ``pictures/NAME.svg`` and ``pictures/NAME.csv``.
        picture_style: the style sheet that they share; no text of a run is in it.
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
        setup=dict(setup),
        pictures=[_picture(each) for each in pictures],
        picture_style=Markup(_switched(picture_style)),  # noqa: S704  # see above
        beside=beside,
        root="",
    )


class _Picture(NamedTuple):
    name: str
    title: str
    caption: str
    wide: Markup
    narrow: Markup


def _picture(drawn: Drawn) -> _Picture:
    wide, narrow = (Markup(drawn.svg("page", column=column)) for column in (False, True))  # noqa: S704  # see Drawn.svg
    return _Picture(drawn.name, drawn.title, drawn.caption, wide, narrow)


def _switched(style: str) -> str:
    """Let rules that follow what the system prefers follow the page's own button too, and paper neither."""
    dark = re.compile(r"@media \(prefers-color-scheme: dark\) \{\s*(\.picture \{[^}]*\})\s*\}")
    paper = re.compile(r"@media print \{\s*\.picture (\{[^}]*\})\s*\}")
    style = dark.sub(
        r':root[data-theme="dark"] \1\n@media (prefers-color-scheme: dark) { :root:not([data-theme="light"]) \1 }',
        style,
    )
    return paper.sub(r"@media print { .picture, :root[data-theme] .picture, :root:not(#x) .picture \1 }", style)
