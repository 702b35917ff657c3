"""A drawing as PDF or PNG, by matplotlib (the extra ``plot``): what LaTeX and word processors take."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from harness.errors import MachineError
from harness.report.grid import visible
from harness.report.pictures.drawing import PIXELS_AN_INCH, SIZE, Disc, Shape
from harness.report.pictures.theme import DARK, DASHES, LIGHT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.report.pictures.drawing import Drawing, Item

Form: TypeAlias = Literal["pdf", "png"]
#: Points of a font or a line by pixels.
_POINTS = 72 / PIXELS_AN_INCH
_DOTS_AN_INCH = 300


def paper(drawing: Drawing, form: Form, *, title: str, dark: bool = False) -> bytes:
    """Return a drawing in a form for papers, the same bytes whenever the same is drawn by the same release.

    Text stays text in a PDF. Nothing of matplotlib's global state is changed.

    Raises:
        MachineError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MachineError(
            f"{form.upper()} is drawn by matplotlib, which cannot be imported ({error})",
            hint="pip install 'posttune-harness[plot]'; --format svg needs nothing",
        ) from error

    colours, stream = DARK if dark else LIGHT, io.BytesIO()
    settings: dict[Any, Any] = {"lines.scale_dashes": False, "pdf.fonttype": 42, "font.family": ["DejaVu Sans"]}
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)  # an empty box says so too
        size = drawing.width / PIXELS_AN_INCH, drawing.height / PIXELS_AN_INCH
        figure = Figure(figsize=size, facecolor=colours["paper"])
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0), xlim=(0, drawing.width), ylim=(drawing.height, 0))
        axes.set_axis_off()
        for layer, item in enumerate(drawing.items):
            _add(axes, item, colours, layer)
        told = {"Title": visible(title), **({"CreationDate": None} if form == "pdf" else {"Software": None})}
        figure.savefig(stream, format=form, dpi=_DOTS_AN_INCH, metadata=told)
    return stream.getvalue()


def _add(axes: Any, item: Item, colours: Mapping[str, str], layer: int) -> None:
    """Add one item; whatever comes later lies above."""
    from matplotlib import lines, patches

    def of(name: str | None) -> str:
        return "none" if name is None else colours[name]

    if isinstance(item, Disc):
        width = item.width * _POINTS if item.stroke else 0
        style = {"facecolor": of(item.fill), "edgecolor": of(item.stroke), "linewidth": width}
        axes.add_patch(patches.Circle(item.centre, item.radius, zorder=layer, **style))
    elif isinstance(item, Shape) and item.closed:
        width = item.width * _POINTS if item.stroke else 0
        style = {"facecolor": of(item.fill), "edgecolor": of(item.stroke), "linewidth": width, "alpha": item.opacity}
        axes.add_patch(patches.Polygon(item.points, closed=True, zorder=layer, **style))
    elif isinstance(item, Shape):
        xs, ys = zip(*item.points, strict=True)
        dash = tuple(length * _POINTS for length in DASHES[item.dash])
        line = lines.Line2D(xs, ys, color=of(item.stroke), linewidth=item.width * _POINTS, zorder=layer)
        line.set_linestyle((0, dash) if dash else "-")
        axes.add_line(line)
    else:
        axes.text(
            *item.at, visible(item.text), ha={"start": "left", "middle": "center", "end": "right"}[item.anchor],
            va="baseline", color=of(item.colour), fontsize=SIZE * _POINTS, fontweight="bold" if item.bold else "normal",
            rotation=-item.turned, rotation_mode="anchor", parse_math=False, zorder=layer,
        )  # fmt: skip
