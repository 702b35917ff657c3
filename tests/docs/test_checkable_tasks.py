"""The page about checkable tasks: its files are written, its commands run, and what it shows is what they say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from docs.pages import compared
from execution import warm

from harness.plugins.loader import load_registry
from harness_plugins.answers.options import AnswerOptions

if TYPE_CHECKING:
    import pytest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "checkable-tasks.md").read_text(encoding="utf-8")
#: What stands before a block, its language and its lines.
BLOCKS = re.findall(r"^([^\n]*)\n\n```(\w+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_the_commands_say_what_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    warm.fork_workers(monkeypatch)
    ran = []
    for before, language, content in BLOCKS:
        if named := re.search(r"`([\w.]+)`:$", before):
            Path(named[1]).write_text(content, encoding="utf-8")
        if language == "console":
            ran += compared(content)
    assert ran == ["validate", "validate", "run", "init", "show"]


def test_every_kind_and_option_is_named() -> None:
    for name in AnswerOptions.model_fields:
        assert f"`{name}`" in PAGE, name
    kinds = AnswerOptions.model_json_schema()["properties"]["kind"]["enum"]
    _, *listed = re.findall(r"^\| `(\w+)` \|", PAGE.partition("| reading |")[0], re.MULTILINE)
    assert sorted(listed) == sorted(kinds)


def test_the_data_sets_that_are_named_exist() -> None:
    known = load_registry().names("dataset")
    for name in ("generated-addition", "generated-second-largest", "reasoning-gym"):
        assert name in known
        assert f"| `{name}` |" in PAGE
