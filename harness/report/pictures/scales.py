"""Where numbers lie along an axis, and which of them are written beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.report.pictures.figure import Band, Bar, Dots, Line, Note, Rule, Span

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from harness.report.pictures.figure import Axis, Panel, Part

#: Share of an axis that is kept free beyond its numbers.
_MARGIN = 0.05
#: Ticks may be so much closer than asked for.
_LEAST = 0.8

#: Of the numbers on a scale, how much of them it must span for marks to be told apart.
_FINEST = 1e-12


@dataclass(frozen=True)
class Scale:
    """From numbers to pixels."""

    low: float
    high: float
    start: float
    """The pixel of ``low``."""
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the pixel of a number; on a logarithmic axis what is not positive is at its start."""
        if self.log:
            value = math.log10(value) if value > 0 else self.low
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def numbers(panel: Panel, *, vertical: bool) -> list[float]:
    """Return every number that stands in a panel along one of its axes."""
    found = (value for part in panel.parts for value in _of(part, vertical=vertical))
    return [value for value in found if math.isfinite(value)]


def _of(part: Part, *, vertical: bool) -> Iterator[float]:
    if isinstance(part, (Line, Dots)):
        yield from part.ys if vertical else part.xs
    elif isinstance(part, Band):
        yield from (*part.lows, *part.highs) if vertical else part.xs
    elif isinstance(part, Span):
        yield from (part.start[vertical], part.end[vertical])
    elif isinstance(part, Rule) and part.vertical != vertical:
        yield part.at
    elif isinstance(part, Bar):
        yield from (part.y,) if vertical else (part.start, part.end)
    elif isinstance(part, Note):
        yield part.y if vertical else part.x


def ends(values: Sequence[float], axis: Axis, *, flush: bool = False) -> tuple[float, float]:
    """Return the ends of an axis (their logarithms on a logarithmic one) that hold the numbers, with some room.

    Bars are ``flush``: they begin where the axis does.
    """
    kept = [math.log10(value) for value in values if value > 0] if axis.log else [*values, *([0.0] * axis.zero)]
    if not kept:
        return 0.0, 1.0
    low, high = min(kept), max(kept)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        room = abs(low) * 0.1 or 1.0
        return low - room, high + room
    room = (high - low) * _MARGIN
    return low if flush and low == 0 else low - room, high + room


def ticks(scale: Scale, axis: Axis, most: int) -> list[tuple[float, str]]:
    """Return at most so many round numbers along a scale, with their texts."""
    if axis.at:
        return [(value, plain(value)) for value in axis.at]
    if scale.log:
        return _powers(scale, most)
    if scale.high - scale.low < _FINEST * max(abs(scale.low), abs(scale.high)):
        return list(zip([scale.low], texts([scale.low], scale.high - scale.low), strict=True))
    step = _step((scale.high - scale.low) / max(most, 1))
    first = math.ceil(scale.low / step - 1e-9)
    last = math.floor(scale.high / step + 1e-9)
    marks = [number * step for number in range(first, last + 1)]
    return list(zip(marks, texts(marks, step), strict=True))


def _powers(scale: Scale, most: int) -> list[tuple[float, str]]:
    tens = range(math.floor(scale.low), math.ceil(scale.high) + 1)
    for factors in ((1, 2, 5), (1,)):
        found = [factor * 10.0**power for power in tens for factor in factors]
        within = [value for value in found if scale.low - 1e-9 <= math.log10(value) <= scale.high + 1e-9]
        if len(within) <= most:
            break
    else:
        within = within[:: math.ceil(len(within) / most)]
    return [(value, plain(value)) for value in within]


def _step(least: float) -> float:
    """Return the smallest of 1, 2 and 5 times a power of ten that is not much less."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * _LEAST)


def texts(marks: Iterable[float], step: float) -> list[str]:
    """Return round numbers as they stand at an axis: equally many digits, large ones in thousands or millions."""
    marks = list(marks)
    largest = max(map(abs, marks), default=0.0)
    unit, letter = (1e9, "G") if largest >= 1e10 else (1e6, "M") if largest >= 1e6 else (1e3, "k")
    if largest < 1e4:
        unit, letter = 1.0, ""
    digits = max(0, -math.floor(math.log10(step / unit) + 1e-9))
    if digits > 6:
        return [f"{value:.2g}" for value in marks]
    return [f"{0:.{digits}f}" if abs(value) < step / 2 else _signed(value / unit, digits) + letter
            for value in marks]  # fmt: skip


def _signed(value: float, digits: int) -> str:
    return f"{value:.{digits}f}".replace("-", "−")


def plain(value: float) -> str:
    """Return a number in as few digits as it takes."""
    return f"{value:.6g}".replace("-", "−")
