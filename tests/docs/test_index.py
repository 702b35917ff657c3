"""The index lists every page once, and CITATION.cff says what the package says of itself."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from docs.pages import DOCS, text_of
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]


def test_every_page_is_listed_once() -> None:
    listed = re.findall(r"\]\(([\w-]+\.md|\w+/README\.md)\)", text_of("README.md"))
    pages = {path.name for path in DOCS.glob("*.md")} - {"README.md"}
    folders = {path.relative_to(DOCS).as_posix() for path in DOCS.glob("*/README.md")}
    assert sorted(listed) == sorted(pages | folders)


def test_every_page_begins_with_its_only_title() -> None:
    for page in DOCS.rglob("*.md"):
        text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
        assert re.findall(r"^# ", text, re.MULTILINE) == ["# "], page.name
        assert text.startswith("# ")


def test_the_citation_is_of_this_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    code = (ROOT / project["tool"]["hatch"]["version"]["path"]).read_text(encoding="utf-8")
    (version,) = re.findall(r'^__version__ = "(.*)"$', code, re.MULTILINE)
    cited = YAML(typ="safe").load(ROOT / "CITATION.cff")
    assert {"cff-version", "message", "title", "authors", "type"} <= set(cited)
    assert cited["version"] == version
    assert cited["type"] == "software"
    assert cited["license"] == project["project"]["license"]
    assert [author["name"] for author in cited["authors"]] == [one["name"] for one in project["project"]["authors"]]
    assert project["project"]["name"] in cited["title"]
    assert cited["keywords"] == project["project"]["keywords"]
