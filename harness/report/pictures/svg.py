"""A drawing as SVG: text as text, nothing active, nothing from elsewhere, and every string escaped.

In a page the colours are the page's custom properties; a file of its own has them in it, and one for a paper has plain
values, for programs that know neither properties nor media queries.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal, TypeAlias
from xml.sax.saxutils import escape

from harness.report.grid import visible
from harness.report.pictures.drawing import SIZE, Disc, Shape, Text
from harness.report.pictures.theme import DARK, DASHES, LIGHT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.report.pictures.drawing import Drawing, Item, Point

#: ``page``: within HTML that has :data:`STYLE`; ``both``: a file that turns dark with its reader.
Theme: TypeAlias = Literal["page", "both", "light", "dark"]

#: What XML cannot hold, even as a reference.
_ILLEGAL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_FONT: Final = 'system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif'


def _rules(colour: Callable[[str], str]) -> str:
    """Return what the classes of a picture mean."""
    lines = [
        f".picture text {{ font: {SIZE:g}px {_FONT}; }}",
        ".picture .pb { font-weight: 600; }",
        *(f".picture .pf-{name} {{ fill: {colour(name)}; }}" for name in LIGHT),
        *(f".picture .ps-{name} {{ stroke: {colour(name)}; }}" for name in LIGHT),
    ]
    return "\n".join(lines)


def _properties(colours: Mapping[str, str]) -> str:
    return " ".join(f"--p-{name}: {value};" for name, value in colours.items())


#: What a page with pictures has in its style sheet, once.
STYLE: Final = f""".picture {{ {_properties(LIGHT)} }}
@media (prefers-color-scheme: dark) {{
  .picture {{ {_properties(DARK)} }}
}}
@media print {{
  .picture {{ {_properties(LIGHT)} }}
}}
{_rules(lambda name: f"var(--p-{name})")}
"""


def svg(drawing: Drawing, *, name: str, title: str, caption: str, theme: Theme = "both") -> str:
    """Return a drawing as one element; ``name`` makes the ids of its title and description its own."""
    size = f"{drawing.width:g}", f"{drawing.height:g}"
    space = "" if theme == "page" else ' xmlns="http://www.w3.org/2000/svg"'
    head = (
        f'<svg{space} class="picture" width="{size[0]}" height="{size[1]}" '
        f'viewBox="0 0 {size[0]} {size[1]}" role="img" aria-labelledby="{_said(name)}-title {_said(name)}-desc">'
    )
    lines = [
        head,
        f'<title id="{_said(name)}-title">{_said(title)}</title>',
        f'<desc id="{_said(name)}-desc">{_said(caption)}</desc>',
    ]
    if theme != "page":
        lines += [f"<style>\n{_style(theme)}</style>"]
        lines += [f'<rect class="pf-paper" width="{size[0]}" height="{size[1]}"/>']
    lines += [_item(item) for item in drawing.items]
    return "\n".join([*lines, "</svg>\n"])


def _style(theme: Theme) -> str:
    if theme == "both":
        return STYLE
    colours = DARK if theme == "dark" else LIGHT
    return _rules(lambda name: colours[name]) + "\n"


def _said(text: str) -> str:
    return escape(_ILLEGAL.sub("\ufffd", visible(text)), {'"': "&quot;"})


def _item(item: Item) -> str:
    if isinstance(item, Text):
        x, y = item.at
        named = ' class="pb ' if item.bold else ' class="'
        turned = f' transform="rotate({item.turned:g} {_n(x)} {_n(y)})"' if item.turned else ""
        anchor = "" if item.anchor == "start" else f' text-anchor="{item.anchor}"'
        opening = f'<text x="{_n(x)}" y="{_n(y)}"{named}pf-{item.colour}"{anchor}{turned}>'
        return f"{opening}{_tip(item.tip)}{_said(item.text)}</text>"
    if isinstance(item, Disc):
        x, y = item.centre
        return _closed(f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{item.radius:g}"{_paint(item)}', "circle", item.tip)
    more = f' fill-opacity="{item.opacity:.3g}"' if item.opacity < 1 else ""
    if item.dash:
        more += f' stroke-dasharray="{" ".join(f"{part:g}" for part in DASHES[item.dash])}"'
    return _closed(f'<path d="{_path(item)}"{_paint(item)}{more}', "path", item.tip)


def _paint(item: Shape | Disc) -> str:
    names = [f"pf-{item.fill}"] * (item.fill is not None) + [f"ps-{item.stroke}"] * (item.stroke is not None)
    named = f' class="{" ".join(names)}"' if names else ""
    named += "" if item.fill else ' fill="none"'
    return named + (f' stroke-width="{item.width:g}"' if item.stroke and item.width != 1 else "")


def _path(item: Shape) -> str:
    def at(point: Point) -> str:
        return f"{_n(point[0])} {_n(point[1])}"

    return f"M{'L'.join(map(at, item.points))}{'Z' if item.closed else ''}"


def _closed(opening: str, name: str, tip: str) -> str:
    return f"{opening}>{_tip(tip)}</{name}>" if tip else f"{opening}/>"


def _tip(text: str) -> str:
    return f"<title>{_said(text)}</title>" if text else ""


def _n(value: float) -> str:
    """Return a number of pixels, to a tenth."""
    text = f"{value:.1f}"
    text = text.removesuffix(".0")
    return "0" if text == "-0" else text
