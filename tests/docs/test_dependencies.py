"""Every dependency is imported for something, the page says where, and what is imported is a dependency."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PAGE = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
OURS = ("harness", "plugins/harness_plugins")
#: What is imported under another name than its distribution has, or comes with one by its own word.
PARTS = {
    "ruamel": "ruamel.yaml", "markupsafe": "jinja2", "pydantic_core": "pydantic", "reasoning_gym": "reasoning-gym",
}  # fmt: skip


def names(requirements: list[str]) -> set[str]:
    return {Requirement(each).name for each in requirements}


def imported(path: Path) -> set[str]:
    """Return what a file imports from elsewhere when it runs, by the name of the distribution."""
    found: set[str] = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    own = {"harness", "harness_plugins", *sys.stdlib_module_names}
    return {PARTS.get(name, name) for name in found - own}


def files(place: str) -> list[Path]:
    path = ROOT / place
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def rows() -> dict[str, tuple[str, list[str]]]:
    """Return the page's table: dependency to its extra (empty for none) and the places it names."""
    found = {}
    for name, extra, where in re.findall(
        r"^\| `([^`]+)`(?: \(extra `(\w+)`\))? \|.*?\| ([^|]*) \|$", PAGE, re.MULTILINE
    ):
        found[name] = (extra, re.findall(r"`([^`]+)`", where))
    return found


def test_what_is_imported_is_a_dependency_and_nothing_else_is() -> None:
    extras = set().union(
        *(names(listed) for extra, listed in PROJECT["optional-dependencies"].items() if extra != "dev")
    )
    every = set().union(*(imported(path) for place in OURS for path in files(place)))
    assert every == names(PROJECT["dependencies"]) | extras


def test_the_page_names_every_dependency_with_places_that_import_it() -> None:
    expected = dict.fromkeys(names(PROJECT["dependencies"]), "")
    for extra, listed in PROJECT["optional-dependencies"].items():
        expected |= dict.fromkeys(names(listed), extra) if extra != "dev" else {}
    assert {name: extra for name, (extra, _) in rows().items()} == expected
    for name, (_, places) in rows().items():
        assert places, name
        for place in places:
            assert any(name in imported(path) for path in files(place)), (name, place)
