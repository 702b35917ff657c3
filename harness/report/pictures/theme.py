"""Colours, dashes and markers of rows.

The colours go by the hues of Okabe and Ito (2008), each as light or dark as it takes to stand out against the paper
(3:1) and from each other for all kinds of colour vision; the tests simulate these. No two rows differ by colour alone:
six colours, five markers and four dashes turn at different paces.
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
    "baseline": "#858a93", "untrained": "#8d96a1", "heat": "#0072b2",
    "blue": "#0069d9", "orange": "#c98500", "green": "#00a066", "red": "#b23c00", "pink": "#b020a0", "sky": "#00405a",
}  # fmt: skip
DARK: Final[Mapping[str, str]] = {
    "ink": "#e4e8ec", "soft": "#9aa4af", "grid": "#30373f", "paper": "#14181d",
    "baseline": "#969ba2", "untrained": "#7c8691", "heat": "#4fa8de",
    "blue": "#2aa0f0", "orange": "#d99a20", "green": "#1fd9a0", "red": "#d0603c", "pink": "#d85fc0", "sky": "#a8dcff",
}  # fmt: skip
SERIES: Final = ("blue", "orange", "green", "red", "pink", "sky")
MARKERS: Final[tuple[Marker, ...]] = ("square", "triangle", "diamond", "down", "pentagon")
#: Lengths of strokes and of what is left out between them, in pixels.
DASHES: Final[tuple[tuple[float, ...], ...]] = ((), (6, 2.5), (2, 2), (7, 2, 2, 2))

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
