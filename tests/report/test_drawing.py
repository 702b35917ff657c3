"""What a picture is drawn as: nothing overlaps or is cut, every text is text, and all eyes can tell rows apart."""

from __future__ import annotations

import itertools
import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report.test_forms import HOSTILE, NASTY

from harness.report.pictures.drawing import COLUMN, PAGE, Disc, Drawing, Shape, Text, fitted, text_width, wrapped
from harness.report.pictures.every import Picture
from harness.report.pictures.figure import (
    Axis,
    Band,
    Bar,
    Cell,
    Dots,
    Figure,
    Frame,
    Key,
    Line,
    Note,
    Panel,
    Rule,
    Slope,
    Span,
)
from harness.report.pictures.layout import lay_out
from harness.report.pictures.scales import Scale, ends, ticks
from harness.report.pictures.svg import STYLE
from harness.report.pictures.theme import DARK, DASHES, LIGHT, SERIES, look

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SVG = "{http://www.w3.org/2000/svg}"
NUMBER = st.floats(-1e12, 1e12, allow_nan=False).map(lambda value: 0.0 if abs(value) < 1e-12 else value)


def figure(text: str = "eso", numbers: Sequence[float] = (1.0, 2.0, 4.0), *, rows: int = 3) -> Figure:
    """Return a picture with every kind of panel and part, with a text in every place that has one."""
    xs = tuple(float(number) for number in range(len(numbers)))
    ys = tuple(numbers)
    style = look(0)
    parts = (
        Rule(0.0), Band(xs, tuple(y - 1 for y in ys), tuple(y + 1 for y in ys), style), Line(xs, ys, style),
        Dots(xs, ys, look(1), "open", (text,) * len(xs), 6.0), Span((0.0, min(ys)), (0.0, max(ys)), style, aside=-6.0),
        Dots(xs, ys, look(2), "seed"), Slope(),
    )  # fmt: skip
    names = tuple(f"{text} {number}" for number in range(rows))
    bars = tuple(Bar(float(row), 0.0, abs(ys[row % len(ys)]), "blue", text) for row in range(rows))
    cells = tuple(Cell(x, y, x / rows, text, text) for x, y in itertools.product(range(rows), range(rows)))
    panels = (
        Panel(text, Axis(text), Axis(text), parts),
        Panel(text, Axis(text), Axis(zero=True), parts),
        Panel(text, Axis(text, zero=True), Axis(names=names, heads=(0,)), (*bars, Note(0.0, 1.0, text, 60.0))),
        Panel(text, Axis(names=names), Axis(names=names), cells, names_on_top=True),
        Panel(text, Axis(text, names=names), Axis(), (Dots((0.0,), (ys[0],), style),)),
    )
    keys = (Key(text, style), Key(text, look(1), "open"), Key(text, look(2), "seed"), Key(text, look(3), "box"))
    frame = Frame(("row", "value"), ((text, ys[0]), (text, None)))
    return Figure("every", text, f"What {text} is.", panels, keys, (f"Note: {text}",), frame)


def extent(item: Any) -> tuple[float, float, float, float]:
    """Return what an item takes: left, right, top, bottom."""
    if isinstance(item, Disc):
        (x, y), r = item.centre, item.radius
        return x - r, x + r, y - r, y + r
    if isinstance(item, Shape):
        xs, ys = zip(*item.points, strict=True)
        return min(xs), max(xs), min(ys), max(ys)
    (x, y), wide = item.at, text_width(item.text, bold=item.bold)
    left = x - {"start": 0.0, "middle": wide / 2, "end": wide}[item.anchor]
    if not item.turned:
        return left, left + wide, y - 8, y + 3
    turn = math.radians(item.turned)
    corners = [
        (x + a * math.cos(turn) - b * math.sin(turn), y + a * math.sin(turn) + b * math.cos(turn))
        for a in (left - x, left + wide - x)
        for b in (-8, 3)
    ]
    xs, ys = zip(*corners, strict=True)
    return min(xs), max(xs), min(ys), max(ys)


def texts(drawing: Drawing) -> Iterator[tuple[Text, tuple[float, float, float, float]]]:
    yield from ((item, extent(item)) for item in drawing.items if isinstance(item, Text) and item.text.strip())


@pytest.mark.parametrize("width", [PAGE, COLUMN])
@pytest.mark.parametrize(
    "text",
    ["eso", "a label of some length", "x" * 300, "方法" * 40, "W" * 30],
    ids=["short", "words", "x", "wide", "W"],
)
@pytest.mark.parametrize("rows", [2, 12])
def test_nothing_is_cut_and_no_texts_overlap(text: str, width: float, rows: int) -> None:
    drawing = lay_out(figure(text, rows=rows), width)
    for item in drawing.items:
        left, right, top, bottom = extent(item)
        assert left >= -0.5
        assert right <= width + 0.5, item
        assert top >= -0.5
        assert bottom <= drawing.height + 0.5
    level = [(item, box) for item, box in texts(drawing) if not item.turned]
    for (one, first), (other, second) in itertools.combinations(level, 2):
        apart = first[1] <= second[0] or second[1] <= first[0] or first[3] <= second[2] or second[3] <= first[2]
        assert apart, (one, other)


@given(numbers=st.lists(NUMBER, min_size=1, max_size=6))
@settings(deadline=None, max_examples=30)
def test_any_numbers_are_drawn_within_the_picture(numbers: list[float]) -> None:
    drawing = lay_out(figure(numbers=numbers))
    for item in drawing.items:
        left, right, top, bottom = extent(item)
        assert left >= -30
        assert right <= PAGE + 30
        assert top >= -1
        assert bottom <= drawing.height + 1


def test_what_is_not_a_number_is_a_gap() -> None:
    ys = (1.0, math.nan, 2.0, 3.0, math.inf)
    xs = (0.0, 1.0, 2.0, 3.0, 4.0)
    panel = Panel("", Axis(), Axis(), (Line(xs, ys, look(0)), Band(xs, ys, ys, look(0)), Dots(xs, ys, look(0))))
    drawing = lay_out(replace(figure(), panels=(panel,), keys=(), notes=()))
    lines = [item for item in drawing.items if isinstance(item, Shape) and item.stroke == "blue" and not item.closed]
    assert [len(line.points) for line in lines] == [2]
    assert sum(isinstance(item, Shape) and item.stroke == "blue" and item.closed for item in drawing.items) == 2 * 3


class TestScales:
    @given(low=NUMBER, size=st.floats(1e-6, 1e12), most=st.integers(2, 10))
    def test_ticks_are_round_and_few(self, low: float, size: float, most: int) -> None:
        scale = Scale(low, low + size, 0, 100)
        if scale.high == scale.low:
            return
        found = ticks(scale, Axis(), most)
        values = [value for value, _ in found]
        assert values == sorted(values)
        assert len(found) <= 1.5 * most + 2
        assert len(found) >= 1 or most < 3
        slack = 1e-6 * size
        assert all(low - slack <= value <= scale.high + slack for value in values)

    @pytest.mark.parametrize(
        ("low", "high", "expected"),
        [
            (0, 1, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
            (-3, 5, ["−2", "0", "2", "4"]),
            (0, 48_000, ["0", "10k", "20k", "30k", "40k"]),
            (0, 2.4e6, ["0.0", "0.5M", "1.0M", "1.5M", "2.0M"]),
            (0.0001, 0.0003, ["0.00010", "0.00015", "0.00020", "0.00025", "0.00030"]),
        ],
    )
    def test_ticks_are_written_alike(self, low: float, high: float, expected: list[str]) -> None:
        assert [text for _, text in ticks(Scale(low, high, 0, 100), Axis(), 5)] == expected

    def test_a_logarithmic_axis_has_powers(self) -> None:
        scale = Scale(-3, 1, 0, 100, log=True)
        assert [text for _, text in ticks(scale, Axis(log=True), 6)] == ["0.001", "0.01", "0.1", "1", "10"]
        assert scale(0.1) == pytest.approx(50)
        assert scale(0.0) == 0

    @pytest.mark.parametrize("value", [0.0, -5.0, 1e-300, 7e11])
    def test_a_constant_has_room_about_it(self, value: float) -> None:
        low, high = ends([value, value], Axis())
        assert low < value < high


class TestTexts:
    @given(text=st.text(max_size=60), width=st.floats(20, 400))
    def test_fit_where_they_are_to_stand(self, text: str, width: float) -> None:
        assert text_width(fitted(text, width)) <= width

    @given(text=st.text(max_size=60))
    def test_keep_their_words_when_they_are_wrapped(self, text: str) -> None:
        assert " ".join(wrapped(text, 1e9)) == " ".join(text.split())

    def test_are_cut_in_the_middle(self) -> None:
        assert re.fullmatch(r"eso\[coef.*….*=4\]", fitted("eso[coef=0.05,temperatures=long list,k=4]", 120))


#: Everything that a picture may consist of.
ELEMENTS = {"svg", "title", "desc", "style", "rect", "path", "circle", "text"}
ATTRIBUTES = {
    "class", "width", "height", "viewBox", "role", "aria-labelledby", "id", "x", "y", "text-anchor", "transform", "cx",
    "cy", "r", "d", "fill", "fill-opacity", "stroke-width", "stroke-dasharray",
}  # fmt: skip


def parsed(text: str) -> ET.Element:
    """Parse a picture, after checking that it has nothing but shapes and texts."""
    root = ET.fromstring(text)  # noqa: S314  # what is written here itself
    for element in root.iter():
        assert element.tag.removeprefix(SVG) in ELEMENTS
        assert set(element.attrib) <= ATTRIBUTES
    return root


class TestSvg:
    @given(text=HOSTILE)
    @settings(deadline=None, max_examples=30)
    def test_any_text_is_a_text(self, text: str) -> None:
        plain, hostile = (parsed(Picture(figure(word)).svg()) for word in ("eso", text))
        assert [e.tag for e in hostile if e.tag.endswith("title")] == [e.tag for e in plain if e.tag.endswith("title")]
        assert {element.tag for element in hostile.iter()} <= {element.tag for element in plain.iter()}

    @pytest.mark.parametrize(
        "text", [*NASTY, "</svg><script>x</script>", "]]>", "<!--", "&amp;", '" onload="x', "\x00"]
    )
    def test_nasty_texts_are_read_as_they_were(self, text: str) -> None:
        root = parsed(Picture(figure(text)).svg("light"))
        assert root[0].tag == f"{SVG}title"
        shown = root[0].text or ""
        assert shown.isprintable()
        if text.isprintable():
            assert shown == text

    @pytest.mark.parametrize("theme", ["both", "light", "dark"])
    def test_nothing_comes_from_elsewhere(self, theme: Any) -> None:
        text = Picture(figure()).svg(theme)
        assert re.findall(r"https?:[^\"]*", text) == ["http://www.w3.org/2000/svg"]
        assert not re.search(r"url\(|@import|href|<script|<image|<foreignObject| on\w+=|style=", text)

    def test_one_for_a_paper_has_plain_colours(self) -> None:
        light, dark = (Picture(figure()).svg(theme) for theme in ("light", "dark"))
        for text, colours in ((light, LIGHT), (dark, DARK)):
            assert "var(" not in text
            assert "@media" not in text
            assert f"fill: {colours['paper']}" in text
        assert "prefers-color-scheme: dark" in Picture(figure()).svg()

    def test_one_within_a_page_has_no_style_of_its_own(self) -> None:
        text = Picture(figure()).svg("page")
        assert "<style" not in text
        assert "#" not in text
        named = set(re.findall(r'p[fs]-\w+|(?<=class=")pb', text))
        assert {f".{name}" for name in named} <= set(re.findall(r"\.p(?:[fs]-\w+|b)\b", STYLE))
        ids = [re.findall(r' id="([^"]+)"', Picture(figure()).svg("page", column=column)) for column in (False, True)]
        assert len({*ids[0], *ids[1]}) == 4

    def test_it_is_named_and_described_for_who_does_not_see_it(self) -> None:
        root = parsed(Picture(figure("eso")).svg())
        assert root.get("role") == "img"
        title, description = root[0], root[1]
        assert (title.text, description.text) == ("eso", "What eso is.")
        assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"

    def test_a_csv_holds_no_formula(self) -> None:
        lines = Picture(figure("=1+1")).csv.splitlines()
        assert lines == ["row,value", "'=1+1,1", "'=1+1,"]


def linear(colour: str) -> Any:
    """Return linear RGB."""
    part = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    return np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)


XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
#: Machado, Oliveira and Fernandes (2009), at full severity: what each eye makes of linear RGB.
EYES = {
    "usual": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def lab(rgb: Any) -> Any:
    parts = XYZ @ np.clip(rgb, 0, 1) / [0.9505, 1.0, 1.089]
    x, y, z = np.where(parts > 0.008856, np.cbrt(parts), 7.787 * parts + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


class TestColours:
    @pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
    def test_stand_out_against_the_paper(self, colours: Any) -> None:
        def contrast(name: str) -> float:
            one, other = ((XYZ @ linear(colours[each]))[1] for each in (name, "paper"))
            return float((max(one, other) + 0.05) / (min(one, other) + 0.05))

        assert min(contrast(name) for name in (*SERIES, "baseline")) >= 3
        assert min(contrast(name) for name in ("ink", "soft")) >= 4.5

    @pytest.mark.parametrize("eye", EYES)
    @pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
    def test_are_told_apart_by_all_eyes(self, colours: Any, eye: str) -> None:
        seen = {name: lab(np.array(EYES[eye]) @ linear(colours[name])) for name in (*SERIES, "baseline")}
        for one, other in itertools.combinations(seen, 2):
            assert np.linalg.norm(seen[one] - seen[other]) > 14, (one, other)

    @pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
    def test_numbers_are_read_on_the_fullest_cell(self, colours: Any) -> None:
        heat, paper = (np.array([int(colours[n][p : p + 2], 16) for p in (1, 3, 5)]) for n in ("heat", "paper"))
        mixed = "#" + "".join(f"{round(value):02x}" for value in 0.56 * heat + 0.44 * paper)
        one, other = sorted((XYZ @ linear(each))[1] for each in (mixed, colours["ink"]))
        assert (other + 0.05) / (one + 0.05) >= 4.5

    def test_no_two_rows_look_alike(self) -> None:
        assert len({(one.colour, one.marker) for one in map(look, range(30))}) == 30
        assert len({look(index) for index in range(60)}) == 60
        for first, second in itertools.pairwise(map(look, range(60))):
            assert first.colour != second.colour
            assert first.marker != second.marker
            assert first.dash != second.dash
        assert max(one.dash for one in map(look, range(60))) < len(DASHES)
