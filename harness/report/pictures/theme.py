"""Colours, dashes and markers: those of Okabe and Ito (2008), darkened on white until 3:1 stands out, lighter on black.

No two rows differ by colour alone: seven colours, six markers and five dashes turn at different paces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.report.pictures.figure import Look

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.report.pictures.figure import Marker
    from harness.report.results import Results

LIGHT: Final[Mapping[str, str]] = {
    "ink": "#1c2128", "soft": "#59636e", "grid": "#dfe3e8", "paper": "#ffffff",
    "baseline": "#6b7280", "untrained": "#8d96a1", "heat": "#0072b2",
    "blue": "#0072b2", "orange": "#b97700", "green": "#008a64", "red": "#d55e00", "pink": "#b85c94", "sky": "#2f93cf",
    "olive": "#857b00",
}  # fmt: skip
DARK: Final[Mapping[str, str]] = {
    "ink": "#e4e8ec", "soft": "#9aa4af", "grid": "#30373f", "paper": "#14181d",
    "baseline": "#a3acb6", "untrained": "#7c8691", "heat": "#4fa8de",
    "blue": "#3f9fdc", "orange": "#e69f00", "green": "#2bbd92", "red": "#f0803c", "pink": "#dd92bd", "sky": "#8fd0f5",
    "olive": "#d9ce4a",
}  # fmt: skip
SERIES: Final = ("blue", "orange", "green", "red", "pink", "sky", "olive")
MARKERS: Final[tuple[Marker, ...]] = ("square", "triangle", "diamond", "down", "pentagon", "star")
#: Lengths of strokes and of what is left out between them, in pixels.
DASHES: Final[tuple[tuple[float, ...], ...]] = ((), (6, 2.5), (2, 2), (7, 2, 2, 2), (4, 1.5, 1, 1.5, 1, 1.5))

BASELINE: Final = Look("baseline", "circle")
UNTRAINED: Final = Look("untrained", "cross", 2)
PLAIN: Final = Look("soft")
INK: Final = Look("ink")


def look(index: int) -> Look:
    """Return the look of the row with a number, counted without the baseline and the untrained model."""
    return Look(SERIES[index % len(SERIES)], MARKERS[index % len(MARKERS)], index % len(DASHES))


def looks(results: Results) -> dict[str, Look]:
    """Return the look of each row by its label, which several models share."""
    found: dict[str, Look] = {}
    others = 0
    for row in results.rows:
        if row.label in found:
            continue
        if row.label == results.baseline:
            found[row.label] = BASELINE
        elif row.kind == "base":
            found[row.label] = UNTRAINED
        else:
            found[row.label], others = look(others), others + 1
    return found
