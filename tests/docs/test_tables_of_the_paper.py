"""Each command on the page about the paper's tables names a benchmark and a profile, and a table that it makes."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from docs.pages import text_of

from harness.benchmark import load_benchmark, profiles
from harness.plugins.loader import load_registry

ROOT = Path(__file__).resolve().parents[2]
PAGE = text_of("tables-of-the-paper.md")
ROWS = re.findall(r"^\| (.*?) \| `(harness run .*?)` \| (.*?) \| (.*?) \|$", PAGE, re.MULTILINE)
REGISTRY = load_registry()
FIGURES = json.loads((ROOT / "harness/report/figures/eso-coling-2025.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("place", "command", "tables", "beside"), ROWS, ids=lambda part: part[:30])
def test_a_command_makes_its_table(place: str, command: str, tables: str, beside: str) -> None:
    _, _, name, _, profile = shlex.split(command)
    file = ROOT / "benchmarks" / f"{name}.yaml"
    assert profile in profiles(file)
    made = load_benchmark(file, registry=REGISTRY, profile=profile).tables
    assert [table for table in re.findall(r"`([\w-]+)`", tables) if table not in made] == []
    known = {figure["place"] for figure in FIGURES["figures"] if figure["benchmark"] == name}
    if beside == "none" or not known:
        assert not known
    else:
        assert place.partition(":")[0] in known


def test_every_place_of_a_published_figure_is_on_the_page() -> None:
    places = {figure["place"] for figure in FIGURES["figures"]} - {"Table 2"}  # one of Tables 1 to 3
    assert places <= {place.partition(":")[0] for place, *_ in ROWS}


def test_every_benchmark_of_the_paper_has_a_row() -> None:
    named = {shlex.split(command)[2] for _, command, _, _ in ROWS}
    assert named == {file.stem for file in (ROOT / "benchmarks").glob("*.yaml") if "paper" in profiles(file)}
