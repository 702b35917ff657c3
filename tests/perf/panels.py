"""A figure of small log-log panels as SVG, without a drawing library."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

#: Blue and vermilion of the palette of Okabe and Ito, which colour-blind readers tell apart; a mark each besides.
COLOURS = ("#0072B2", "#D55E00")
_FONTS = "Helvetica, Arial, Liberation Sans, DejaVu Sans, sans-serif"
_WIDTH, _HEIGHT = 290, 220
_LEFT, _TOP, _GAP_X, _GAP_Y = 66, 62, 22, 66
_INSET, _BESIDE = 16, 44  # room within a panel: at its left, and at its right for the names of the lines


@dataclass(frozen=True)
class Panel:
    """Lines over one axis."""

    across: str
    """What the axis says."""
    lines: Mapping[str, Sequence[tuple[float, float]]]


@dataclass(frozen=True)
class Row:
    """Panels side by side with one upright axis."""

    up: str
    panels: Sequence[Panel]


def draw(title: str, under: str, rows: Sequence[Row]) -> str:
    """Return the figure."""
    columns = max(len(row.panels) for row in rows)
    width = _LEFT + columns * (_WIDTH + _GAP_X)
    height = _TOP + len(rows) * (_HEIGHT + _GAP_Y)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="{_FONTS}">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        _text(14, 24, title, "start", size=15, bold=True),
        _text(14, 43, under, "start", colour="#555555"),
    ]
    for number, row in enumerate(rows):
        parts += _row(row, _TOP + number * (_HEIGHT + _GAP_Y))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _row(row: Row, top: float) -> Iterator[str]:
    low, high = _reach([y for panel in row.panels for points in panel.lines.values() for _, y in points])
    ticks = _ticks(low, high)

    def up(value: float) -> float:
        return top + _HEIGHT * (1 - _share(value, low, high))

    middle = top + _HEIGHT / 2
    yield f'<g transform="rotate(-90 18 {middle:.1f})">{_text(18, middle, row.up, "middle")}</g>'
    for value in ticks:
        yield _text(_LEFT - 7, up(value) + 4, f"{value:g}" if value < 1000 else f"{value:,.0f}", "end")
    for number, panel in enumerate(row.panels):
        left = _LEFT + number * (_WIDTH + _GAP_X)
        values = sorted({x for points in panel.lines.values() for x, _ in points})

        def across(value: float, left: float = left, values: Sequence[float] = values) -> float:
            inner = _WIDTH - _INSET - _BESIDE
            return left + _INSET + inner * _share(value, values[0], values[-1])

        for value in ticks:
            yield _rule(left, up(value), left + _WIDTH, up(value), "#dddddd")
        bottom = top + _HEIGHT
        for value in values:
            yield _rule(across(value), bottom, across(value), bottom + 4, "#555555")
            yield _text(across(value), bottom + 18, f"{value:g}", "middle")
        yield _rule(left, bottom, left + _WIDTH, bottom, "#555555")
        yield _text(left + _INSET + (_WIDTH - _INSET - _BESIDE) / 2, bottom + 37, panel.across, "middle")
        places = {name: [(across(x), up(y)) for x, y in points] for name, points in panel.lines.items()}
        yield from _lines(places)


def _lines(places: Mapping[str, Sequence[tuple[float, float]]]) -> Iterator[str]:
    ends = _apart({name: points[-1][1] for name, points in places.items() if points})
    for (name, points), colour, square in zip(places.items(), COLOURS, (False, True), strict=False):
        if not points:
            continue
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        for x, y in points:
            yield (
                f'<rect x="{x - 3.5:.1f}" y="{y - 3.5:.1f}" width="7" height="7" fill="{colour}"/>'
                if square
                else f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>'
            )
        yield _text(points[-1][0] + 10, ends[name] + 4, name, "start", colour=colour, bold=True)


def _apart(heights: Mapping[str, float], *, least: float = 15) -> dict[str, float]:
    """Return heights of labels that do not overlap, in the order of the lines' ends."""
    placed: dict[str, float] = {}
    before = -math.inf
    for name, height in sorted(heights.items(), key=lambda item: item[1]):
        before = max(height, before + least)
        placed[name] = before
    return placed


def _reach(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of an axis with some room, within which there are two ticks at least."""
    low, high = min(values) / 1.25, max(values) * 1.25
    while len(_ticks(low, high)) < 2:
        low, high = low / 1.25, high * 1.25
    return low, high


def _ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [step * 10.0**decade for decade in decades for step in (1, 2, 5)]
    return [value for value in found if low <= value <= high]


def _share(value: float, low: float, high: float) -> float:
    return 0.5 if low == high else math.log(value / low) / math.log(high / low)


def _rule(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _text(
    x: float, y: float, text: str, anchor: str, *, size: int = 12, colour: str = "#222222", bold: bool = False
) -> str:
    weight = ' font-weight="bold" stroke="#ffffff" stroke-width="4" paint-order="stroke"' if bold else ""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} font-size="{size}" fill="{colour}"{weight}>{escape(text)}</text>'
