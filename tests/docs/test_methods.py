"""Every method has a page, the index lists it, and the options, presets and settings that a page names exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.api import MethodRegistration
from harness.api.registration import RESERVED_KEYS
from harness.plugins.loader import load_registry
from harness.plugins.option_groups import option_names
from harness.spec.recipe import Recipe

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "methods"
PAGES = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")
#: Methods that rows of a table are trained with, from this repository's distributions.
METHODS = {
    row.name: row.registration
    for row in load_registry().plugins
    if isinstance(row.registration, MethodRegistration)
    and row.registration.trains == "policy"
    and row.distribution in {"posttune-harness", "posttune-harness-methods"}
}


NAMES = {name: set(option_names(method.options)) for name, method in METHODS.items()}
#: What may stand before a colon in a benchmark file's entry.
SETTINGS = set().union(*NAMES.values()) | RESERVED_KEYS | set(Recipe.model_fields) | {"compat"}


def options_named(text: str) -> set[str]:
    """Return the names in the first cells of tables whose first column is ``option``, or in ``Options are …``."""
    tables = re.findall(r"^\| option \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    cells = [line.split("|")[1] for table in tables for line in table.splitlines()]
    cells += re.findall(r"^Options are (.*?)$\n$", text, re.DOTALL | re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([\w.]+)`", cell)}


def test_every_method_has_a_page() -> None:
    assert {"sft", "eso"} <= set(METHODS)
    assert sorted(set(METHODS) - {page.stem for page in PAGES}) == []


def test_the_index_lists_every_method_and_page_once() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[([\w-]+)\]\(([\w-]+)\.md\) \|", text, re.MULTILINE)
    assert all(title == target for title, target in rows)
    listed = [title for title, _ in rows]
    assert len(listed) == len(set(listed))
    assert set(METHODS) | {page.stem for page in PAGES} <= set(listed)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# ")
    method, options = METHODS[page.stem], NAMES[page.stem]
    named = options_named(text)
    assert named, "no table of options"
    assert sorted(named - options) == []
    assert sorted(set(re.findall(r"`preset: ([\w-]+)`", text)) - set(method.presets)) == []
    spans = re.findall(r"`\{?([^`]*?)\}?`", re.sub(r"^ {4}.*$", "", text, flags=re.MULTILINE))
    keys = {key for span in spans for key in re.findall(r"(?:^|[,{] ?)([a-z_][\w.]*): ", span)}
    assert sorted(keys - SETTINGS) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_short_and_says_where_the_method_is_from(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.search(r"\]\(https://(arxiv\.org/abs|aclanthology\.org)/", text)
    assert len(text.split()) < 700
