"""A picture before it has a form: panels with axes, what stands in them, and the numbers behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

Marker: TypeAlias = Literal["circle", "square", "triangle", "diamond", "down", "pentagon", "star", "cross"]
#: A name of :data:`harness.report.pictures.theme.LIGHT`.
Colour: TypeAlias = str
#: Along an axis: a number, or the number of a row or a category.
Numbers: TypeAlias = "tuple[float, ...]"


@dataclass(frozen=True)
class Look:
    """How everything of one row is drawn, in all pictures of a run alike."""

    colour: Colour
    marker: Marker = "circle"
    dash: int = 0
    """Index into :data:`harness.report.pictures.theme.DASHES`."""


@dataclass(frozen=True)
class Axis:
    """One direction of a panel."""

    label: str = ""
    names: tuple[str, ...] = ()
    """Of categories, which stand at 0, 1, …; an axis without is one of numbers, with ticks of its own."""
    heads: tuple[int, ...] = ()
    """Which of the names are headings above the ones that follow."""
    at: Numbers = ()
    """Where its ticks are; chosen where empty."""
    log: bool = False
    zero: bool = False
    """Whether 0 is within it, whatever the numbers."""


@dataclass(frozen=True)
class Line:
    """Points in their order, joined; one that is not finite is a gap."""

    xs: Numbers
    ys: Numbers
    look: Look
    marked: bool = True
    """Whether a few of the points have the row's marker."""


@dataclass(frozen=True)
class Band:
    """What lies between two lines."""

    xs: Numbers
    lows: Numbers
    highs: Numbers
    look: Look


@dataclass(frozen=True)
class Dots:
    """Points, each by itself."""

    xs: Numbers
    ys: Numbers
    look: Look
    form: Literal["full", "open", "seed"] = "full"
    """``seed``: a small ring, one of several that a number is the mean of."""
    tips: tuple[str, ...] = ()
    """What is said of each where a pointer rests on it."""
    aside: float = 0.0
    """Pixels to the right, so that what has the same number can be told apart."""


@dataclass(frozen=True)
class Span:
    """A straight line between two points, such as an interval."""

    start: tuple[float, float]
    end: tuple[float, float]
    look: Look
    thick: bool = True
    aside: float = 0.0
    """As of :class:`Dots`."""


@dataclass(frozen=True)
class Rule:
    """A line across the whole panel."""

    at: float
    vertical: bool = False
    look: Look | None = None
    """None for one that numbers are measured from, such as 0."""


@dataclass(frozen=True)
class Slope:
    """Where both numbers are the same."""


@dataclass(frozen=True)
class Bar:
    """A part of a bar that lies in row ``y``."""

    y: float
    start: float
    end: float
    colour: Colour
    tip: str = ""


@dataclass(frozen=True)
class Cell:
    """One field of a heat map."""

    column: int
    row: int
    share: float
    """From 0 (pale) to 1 (full)."""
    text: str
    tip: str = ""


@dataclass(frozen=True)
class Note:
    """A text at a point, to its right."""

    x: float
    y: float
    text: str
    width: float = 0.0
    """Pixels that are kept for it to the right of the panel."""


Part: TypeAlias = Line | Band | Dots | Span | Rule | Slope | Bar | Cell | Note


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    title: str
    x: Axis
    y: Axis
    """A ``y`` with names goes down the page, its first name on top; it is as high as it has names."""
    parts: tuple[Part, ...]
    names_on_top: bool = False
    """Whether the names of ``x`` stand above, as over a table."""


@dataclass(frozen=True)
class Key:
    """One entry of a legend."""

    text: str
    look: Look
    form: Literal["line", "marker", "open", "seed", "box"] = "line"


@dataclass(frozen=True)
class Frame:
    """The numbers of a picture, a line each; None for what is not known."""

    columns: tuple[str, ...]
    lines: tuple[tuple[str | float | None, ...], ...]


@dataclass(frozen=True)
class Figure:
    """One picture."""

    name: str
    """Of its files."""
    title: str
    caption: str
    """What it shows and how it is read, in a sentence or two."""
    panels: tuple[Panel, ...]
    keys: tuple[Key, ...]
    notes: tuple[str, ...]
    """What must be known wherever the picture goes; drawn below the panels."""
    frame: Frame
    beside: int = 2
    """How many panels stand beside each other on a page."""


def joined(xs: Iterable[float]) -> Numbers:
    """Return numbers as a figure keeps them: of Python's own, so that they are written alike everywhere."""
    return tuple(map(float, xs))
