"""A figure on paper: where its panels, axes, parts, keys and notes are, in pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from harness.report.pictures.drawing import PAGE, Disc, Drawing, Shape, Text, fitted, marker, text_width, wrapped
from harness.report.pictures.figure import Band, Bar, Cell, Dots, Line, Note, Rule, Slope, Span
from harness.report.pictures.scales import Scale, ends, numbers, ticks
from harness.report.pictures.theme import PLAIN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.report.pictures.drawing import Item
    from harness.report.pictures.figure import Axis, Figure, Key, Panel, Part

_GAP: Final = 26.0
_LINE: Final = 15.0
#: Of a row of names that go down the page, and of the plot where there are none.
_ROW, _HEIGHT = 17.0, 172.0
#: From the middle of a line of text to its base line.
_DOWN: Final = 4.0
_SLANT: Final = 40.0
#: Points of a line that have a marker.
_MARKED: Final = 4


def lay_out(figure: Figure, width: float = PAGE) -> Drawing:
    """Lay a figure out on a page, or in a column, where panels stand below each other."""
    items: list[Item] = []
    top = 2.0 + _legend(figure.keys, width, items)
    count = min(figure.beside, len(figure.panels)) if width >= PAGE else 1
    each = (width - _GAP * (count - 1)) / count
    for first in range(0, len(figure.panels), count):
        lines = figure.panels[first : first + count]
        heads = max(len(wrapped(panel.title, each, bold=True)) for panel in lines)
        heights = []
        for number, panel in enumerate(lines):
            placed = _Placed(panel, number * (each + _GAP), top, each, heads)
            items += placed.items
            heights.append(placed.height)
        top += max(heights) + 14
    top -= 12
    for note in figure.notes:
        for line in wrapped(note, width - 4):
            items.append(Text((2, top + 12), line, colour="soft"))
            top += _LINE
    return Drawing(width, math.ceil(top + 2), tuple(items))


def _legend(keys: Sequence[Key], width: float, items: list[Item]) -> float:
    """Place the keys in lines from the top; return how high they are."""
    x, y = 2.0, 12.0
    for key in keys:
        text = fitted(key.text, width - 34)
        needed = 28 + text_width(text) + 14
        if x > 2 and x + needed > width:
            x, y = 2.0, y + _LINE + 1
        if key.form == "box":
            corners = ((x + 6, y - 5), (x + 18, y - 5), (x + 18, y + 5), (x + 6, y + 5))
            items.append(Shape(corners, fill=key.look.colour, closed=True))
        else:
            if key.form == "line":
                items.append(Shape(((x, y), (x + 24, y)), stroke=key.look.colour, width=1.8, dash=key.look.dash))
            if key.form == "seed":
                items.append(Disc((x + 12, y), 2.2, None, key.look.colour))
            else:
                items.append(marker(key.look, (x + 12, y), 3.6, full=key.form != "open"))
        items.append(Text((x + 29, y + _DOWN), text))
        x += needed
    return y + 14 if keys else 0.0


@dataclass
class _Placed:
    """One panel in its place."""

    panel: Panel
    left: float
    top: float
    width: float
    heads: int
    """Lines that are kept for titles."""
    items: list[Item] = field(default_factory=list)
    height: float = 0.0

    def __post_init__(self) -> None:
        """Place everything."""
        panel = self.panel
        self.faint = 0.16 if sum(isinstance(part, Band) for part in panel.parts) < 4 else 0.08
        for number, line in enumerate(wrapped(panel.title, self.width, bold=True)):
            self.items.append(Text((self.left + 2, self.top + 12 + number * _LINE), line, bold=True))
        top = self.top + self.heads * _LINE + 8
        rows = len(panel.y.names)
        height = rows * _ROW + 4 if rows else _HEIGHT
        low, high = (-0.5 - 2 / _ROW, rows - 0.5 + 2 / _ROW) if rows else ends(numbers(panel, vertical=True), panel.y)
        # names go down the page, numbers up
        self.y = Scale(low, high, 0, height, panel.y.log) if rows else Scale(low, high, height, 0, panel.y.log)
        marks = [] if rows else ticks(self.y, panel.y, 5)
        margin = self._margin([text for _, text in marks])
        kept = max((part.width for part in panel.parts if isinstance(part, Note)), default=0.0)
        right = self.left + self.width - max(6.0, kept)
        if panel.names_on_top:
            right, above = self._slanted(right - self.left - margin)
            top += above
        start = self.left + margin
        low, high = self._across()
        self.start, self.stop = start, max(right, start + 20)
        inset = max((abs(part.aside) for part in panel.parts if isinstance(part, (Dots, Span))), default=0.0)
        inset = min(inset, 0.2 * (self.stop - start))
        self.x = Scale(low, high, start + inset, self.stop - inset, panel.x.log)
        self.y = Scale(self.y.low, self.y.high, self.y.start + top, self.y.end + top, panel.y.log)
        self.bottom = top + height
        self._vertical(marks, top)
        below = self._horizontal(top)
        lines = 0
        for part in panel.parts:
            self.items += self._drawn(part, lines)
            lines += isinstance(part, Line)
        self.height = self.bottom + below - self.top

    def _across(self) -> tuple[float, float]:
        names = self.panel.x.names
        if names:
            return -0.5, len(names) - 0.5
        flush = any(isinstance(part, Bar) for part in self.panel.parts)
        return ends([*numbers(self.panel, vertical=False), *self.panel.x.at], self.panel.x, flush=flush)

    def _margin(self, marks: Sequence[str]) -> float:
        """Return what is kept to the left for the texts of the vertical axis."""
        axis = self.panel.y
        names = [name for number, name in enumerate(axis.names) if number not in axis.heads]
        widest = max(map(text_width, [*names, *marks]), default=0.0)
        return min(widest, 0.36 * self.width) + 11 + (16 if axis.label else 0)

    def _slanted(self, room: float) -> tuple[float, float]:
        """Return the right end of a plot below names, and how high these are; turned where they are too wide."""
        names = self.panel.x.names
        slot = room / max(len(names), 1)
        widest = [min(text_width(name), 120.0) for name in names]
        end = self.left + self.width - 6
        if max(widest, default=0.0) <= slot - 4:
            return end, 14.0
        turn, half = math.radians(_SLANT), 0.5 / len(names)
        # the last name begins in the middle of its slot, which narrows with what is kept for it
        beyond = (widest[-1] * math.cos(turn) + 8 - room * half) / (1 - half)
        return end - max(0.0, beyond), max(widest) * math.sin(turn) + 16

    def _vertical(self, marks: Sequence[tuple[float, str]], top: float) -> None:
        """Draw the texts at the left and the lines that go from them."""
        axis, start = self.panel.y, self.start
        for value, text in marks:
            at = self.y(value)
            self.items.append(_line((start, at), (self.stop, at), "grid"))
            self.items.append(Text((start - 6, at + _DOWN), text, "end", "soft"))
        for number, name in enumerate(axis.names):
            at = self.y(number) + _DOWN
            if number in axis.heads:
                self.items.append(Text((self.left + 2, at), fitted(name, self.width - 4, bold=True), bold=True))
            else:
                text = fitted(name, start - self.left - 10)
                self.items.append(Text((start - 6, at), text, "end", tip=name if text != name else ""))
        if axis.label:
            middle = (top + self.bottom) / 2
            text = fitted(axis.label, self.bottom - top)
            self.items.append(Text((self.left + 10, middle), text, "middle", "soft", turned=-90))

    def _horizontal(self, top: float) -> float:
        """Draw the texts of the horizontal axis; return how much they take below the plot."""
        axis = self.panel.x
        if axis.names:
            return self._names(top)
        below, reached = 18.0, -math.inf
        for value, text in ticks(self.x, axis, max(2, int((self.x.end - self.x.start) / 60))):
            at, half = self.x(value), text_width(text) / 2
            ruled = bool(self.panel.y.names)
            self.items.append(_line((at, top if ruled else self.bottom), (at, self.bottom + 3), "grid"))
            if at - half > reached:
                shifted = min(at, self.left + self.width - half)
                self.items.append(Text((shifted, self.bottom + 15), text, "middle", "soft"))
                reached = at + half + 6
        if not self.panel.y.names:
            self.items.append(_line((self.start, self.bottom), (self.stop, self.bottom), "soft"))
        return below + self._axis_label(axis, below)

    def _axis_label(self, axis: Axis, below: float) -> float:
        if not axis.label:
            return 0.0
        text, middle = fitted(axis.label, self.width), (self.x.start + self.x.end) / 2
        middle = max(middle, self.left + text_width(text) / 2)
        middle = min(middle, self.left + self.width - text_width(text) / 2)
        self.items.append(Text((middle, self.bottom + below + 11), text, "middle", "soft"))
        return 16.0

    def _names(self, top: float) -> float:
        axis, slot = self.panel.x, (self.x.end - self.x.start) / len(self.panel.x.names)
        widest = max(map(text_width, axis.names))
        for number, name in enumerate(axis.names):
            at = self.x(number)
            if self.panel.names_on_top and widest > slot - 4:
                text = fitted(name, 120)
                self.items.append(Text((at - 2, top - 6), text, turned=-_SLANT, tip=name if text != name else ""))
                continue
            text = fitted(name, slot - 4)
            height = top - 6 if self.panel.names_on_top else self.bottom + 15
            self.items.append(Text((at, height), text, "middle", tip=name if text != name else ""))
        return (0.0 if self.panel.names_on_top else 18.0) + self._axis_label(
            axis, 2.0 if self.panel.names_on_top else 18.0
        )

    def _at(self, x: float, y: float) -> tuple[float, float]:
        return self.x(x), self.y(y)

    def _drawn(self, part: Part, lines: int) -> Iterator[Item]:
        """Yield what one part comes to; ``lines`` are those that went before it."""
        if isinstance(part, Line):
            yield from self._line(part, lines)
        elif isinstance(part, Band):
            yield from self._band(part)
        elif isinstance(part, Dots):
            yield from self._dots(part)
        elif isinstance(part, Span):
            (x1, y1), (x2, y2) = self._at(*part.start), self._at(*part.end)
            yield Shape(
                ((x1 + part.aside, y1), (x2 + part.aside, y2)),
                stroke=part.look.colour,
                width=2.2 if part.thick else 1.2,
            )
        elif isinstance(part, Rule):
            look, width = part.look or PLAIN, 1.2
            at = self.x(part.at) if part.vertical else self.y(part.at)
            first, last = ((at, self.y.start), (at, self.y.end)), ((self.start, at), (self.stop, at))
            yield Shape(first if part.vertical else last, stroke=look.colour, width=width, dash=look.dash)
        elif isinstance(part, Slope):
            low, high = max(self.x.low, self.y.low), min(self.x.high, self.y.high)
            yield Shape((self._at(low, low), self._at(high, high)), stroke="soft", dash=2)
        elif isinstance(part, Bar):
            half, at = 0.34 * _ROW, self.y(part.y)
            near, far = self.x(part.start), self.x(part.end)
            corners = ((near, at - half), (far, at - half), (far, at + half), (near, at + half))
            yield Shape(corners, fill=part.colour, closed=True, tip=part.tip)
        elif isinstance(part, Cell):
            yield from self._cell(part)
        else:
            x, y = self._at(part.x, part.y)
            yield Text((x + 6, y + _DOWN), fitted(part.text, self.left + self.width - x - 6), colour="soft")

    def _line(self, part: Line, before: int) -> Iterator[Item]:
        runs: list[list[tuple[float, float]]] = [[]]
        for x, y in zip(part.xs, part.ys, strict=True):
            if math.isfinite(x) and math.isfinite(y):
                runs[-1].append(self._at(x, y))
            elif runs[-1]:
                runs.append([])
        points = [point for run in runs for point in run]
        for run in runs:
            if len(run) > 1:
                yield Shape(tuple(run), stroke=part.look.colour, width=1.6, dash=part.look.dash)
        few = len(points) <= 2 * _MARKED
        every = 1 if few else len(points) / _MARKED
        # lines that lie over each other have their markers at different places
        offset = 0.0 if few else (0.5 + 0.38 * before) % 1 * every
        count = len(points) if few else _MARKED
        if part.marked:
            yield from (marker(part.look, points[int(offset + k * every)], 3.0, width=1.0) for k in range(count))
        else:
            yield from (Disc(run[0], 1.5, part.look.colour) for run in runs if len(run) == 1)

    def _band(self, part: Band) -> Iterator[Item]:
        run: list[tuple[float, float, float]] = []
        for x, low, high in [*zip(part.xs, part.lows, part.highs, strict=True), (math.nan,) * 3]:
            if math.isfinite(x) and math.isfinite(low) and math.isfinite(high):
                run.append((x, low, high))
                continue
            if len(run) > 1:
                above = [self._at(x, high) for x, _, high in run]
                below = [self._at(x, low) for x, low, _ in reversed(run)]
                yield Shape((*above, *below), fill=part.look.colour, opacity=self.faint, closed=True)
            run = []

    def _dots(self, part: Dots) -> Iterator[Item]:
        tips = part.tips or ("",) * len(part.xs)
        for x, y, tip in zip(part.xs, part.ys, tips, strict=True):
            if not (math.isfinite(x) and math.isfinite(y)):
                continue
            at = self.x(x) + part.aside, self.y(y)
            if part.form == "seed":
                yield Disc(at, 2.2, None, part.look.colour, tip=tip)
            else:
                yield marker(part.look, at, 4.0, full=part.form == "full", tip=tip)

    def _cell(self, part: Cell) -> Iterator[Item]:
        slot = (self.x.end - self.x.start) / len(self.panel.x.names)
        x, y = self._at(part.column, part.row)
        half, tall = slot / 2 - 0.75, _ROW / 2 - 0.75
        corners = ((x - half, y - tall), (x + half, y - tall), (x + half, y + tall), (x - half, y + tall))
        if part.share >= 0:
            yield Shape(corners, fill="heat", opacity=0.06 + 0.5 * min(part.share, 1.0), closed=True, tip=part.tip)
        if text_width(part.text) <= slot:
            yield Text((x, y + _DOWN), part.text, "middle")


def _line(start: tuple[float, float], end: tuple[float, float], colour: str) -> Shape:
    return Shape((start, end), stroke=colour)
