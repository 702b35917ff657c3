"""The page about architecture names every room, its layers are those that are enforced, and its picture is small."""

from __future__ import annotations

import re
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path

from docs.pages import DOCS, text_of

ROOT = Path(__file__).resolve().parents[2]
PAGE = text_of("architecture.md")
PICTURE = text_of("architecture.svg")
ROOMS = {path.parent.name for path in (ROOT / "harness").glob("*/__init__.py")}


def test_the_layers_are_those_that_are_enforced() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    (table,) = re.findall(r"^\| layer \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    shown = [re.findall(r"`(\w+)`", line.split("|")[1]) for line in str(table).splitlines()]
    assert shown == [layer.split(" | ") for layer in layers]


def test_every_room_has_a_paragraph() -> None:
    rooms = PAGE.partition("## The rooms")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\*\*(\w+)\*\* ", rooms, re.MULTILINE)) == ROOMS


def test_the_picture_shows_every_room() -> None:
    root = ET.fromstring(PICTURE)  # noqa: S314  # our own file
    texts = " ".join(text for element in root.iter() for text in (element.text or "",) if element.tag.endswith("text"))
    assert {room for room in ROOMS if not re.search(rf"\b{room}\b", texts)} == set()


def test_the_picture_is_small_and_stands_alone() -> None:
    assert len(PICTURE.encode()) < 6000
    assert "prefers-color-scheme: dark" in PICTURE
    assert not re.search(r"<script|<image|href|https?://(?!www\.w3\.org/2000/svg)|\bon\w+=", PICTURE)
    assert "(architecture.svg)" in PAGE
    assert (DOCS / "architecture.svg").exists()


def test_places_for_new_things_exist() -> None:
    named = re.findall(r"`((?:harness|plugins|benchmarks|docs)/[\w/.]*)`", PAGE)
    assert len(named) > 8
    assert [name for name in named if not (ROOT / name).exists()] == []
