"""Shapes and texts at pixels: what every writer of pictures is given."""

from __future__ import annotations

import functools
import math
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from harness.report.pictures.figure import Look

#: Pixels; a page of a paper is 6.75 inches wide.
PAGE, COLUMN, PIXELS_AN_INCH = 720.0, 345.0, 720 / 6.75
SIZE: Final = 11.0

Point: TypeAlias = tuple[float, float]
Anchor: TypeAlias = Literal["start", "middle", "end"]


@dataclass(frozen=True)
class Shape:
    """A line or a polygon."""

    points: tuple[Point, ...]
    fill: str | None = None
    stroke: str | None = None
    width: float = 1.0
    dash: int = 0
    opacity: float = 1.0
    """Of the fill."""
    closed: bool = False
    tip: str = ""


@dataclass(frozen=True)
class Disc:
    """A circle."""

    centre: Point
    radius: float
    fill: str | None = None
    stroke: str | None = None
    width: float = 1.0
    tip: str = ""


@dataclass(frozen=True)
class Text:
    """One line of text; ``at`` is on its base line."""

    at: Point
    text: str
    anchor: Anchor = "start"
    colour: str = "ink"
    bold: bool = False
    turned: float = 0.0
    """Degrees, counted clockwise."""
    tip: str = ""


Item: TypeAlias = Shape | Disc | Text


@dataclass(frozen=True)
class Drawing:
    """A picture of a size."""

    width: float
    height: float
    items: tuple[Item, ...]


@functools.lru_cache(maxsize=4096)
def text_width(text: str, *, bold: bool = False) -> float:
    """Return about how wide a text is in pixels, in a sans serif font of its usual size."""
    wide = 0.0
    for letter in text:
        if letter in "ijlI.,:;'|! ()[]ft":
            wide += 0.36
        elif letter in "mwMW@%—…":
            wide += 0.9
        elif unicodedata.combining(letter):
            continue
        elif unicodedata.east_asian_width(letter) in {"W", "F"}:
            wide += 1.0
        else:
            wide += 0.68 if letter.isupper() else 0.58
    return wide * SIZE * (1.08 if bold else 1.0)


def fitted(text: str, width: float, *, bold: bool = False) -> str:
    """Return a text, cut in its middle where it is wider than that: ends of labels say what differs."""
    if text_width(text, bold=bold) <= width:
        return text
    keep = len(text)
    while keep > 2:
        keep -= max(1, (keep - 2) // 12)
        first = (keep + 1) // 2
        cut = f"{text[:first]}…{text[len(text) - (keep - first) :]}"
        if text_width(cut, bold=bold) <= width:
            return cut
    return "…"


def wrapped(text: str, width: float, *, bold: bool = False) -> list[str]:
    """Return the lines of a text that is not to be wider than that; a word that is alone too wide is cut."""
    lines: list[str] = []
    for word in text.split():
        joint = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(joint, bold=bold) <= width:
            lines[-1] = joint
        else:
            lines.append(fitted(word, width, bold=bold))
    return lines


_CORNERS: Final = {"square": (4, 45.0, 1.2), "triangle": (3, -90.0, 1.25), "diamond": (4, 0.0, 1.3),
                   "down": (3, 90.0, 1.25), "pentagon": (5, -90.0, 1.1)}  # fmt: skip


def marker(look: Look, at: Point, size: float, *, full: bool = True, width: float = 1.4, tip: str = "") -> Item:
    """Return the marker of a row about a point; one that is not full is filled with the paper's colour."""
    fill = look.colour if full else "paper"
    x, y = at
    if look.marker == "circle":
        return Disc(at, size, fill, look.colour, width, tip)
    if look.marker == "cross":
        arm, half = size * 1.15, size * 0.38
        corners = [(half, half), (arm, half), (arm, -half), (half, -half), (half, -arm), (-half, -arm)]
        corners += [(-a, -b) for a, b in corners]
        return Shape(tuple((x + a, y + b) for a, b in corners), fill, look.colour, width, closed=True, tip=tip)
    if look.marker == "star":
        angles = [math.radians(36 * number - 90) for number in range(10)]
        rays = [size * (1.4 if number % 2 == 0 else 0.6) for number in range(10)]
        corners = [(ray * math.cos(angle), ray * math.sin(angle)) for ray, angle in zip(rays, angles, strict=True)]
        return Shape(tuple((x + a, y + b) for a, b in corners), fill, look.colour, width, closed=True, tip=tip)
    count, turn, factor = _CORNERS[look.marker]
    angles = [math.radians(turn + 360 * number / count) for number in range(count)]
    ring = tuple((x + factor * size * math.cos(angle), y + factor * size * math.sin(angle)) for angle in angles)
    return Shape(ring, fill, look.colour, width, closed=True, tip=tip)
