"""The page about data of one's own: its files are written, its commands run, and what it shows is what they say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from docs.pages import compared
from execution import warm

from harness.api import DatasetRegistration
from harness.benchmark import load_benchmark
from harness.plugins.loader import load_registry

if TYPE_CHECKING:
    import pytest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "own-data.md").read_text(encoding="utf-8")
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
    assert {"show", "validate", "run"} <= set(ran)


def test_every_option_of_a_column_is_named() -> None:
    registration = load_registry().get("dataset", "files")
    assert isinstance(registration, DatasetRegistration)
    columns = registration.options.model_fields["columns"].annotation
    assert columns is not None
    names = [*columns.model_fields, *(name for name in registration.options.model_fields if name != "kind")]
    assert [name for name in names if f"`{name}" not in PAGE] == []


def test_the_lines_for_the_hub_are_right(tmp_path: Path) -> None:
    (lines,) = [content for _, _, content in BLOCKS if "dataset: hub" in content]
    file = tmp_path / "own.yaml"
    rest = "benchmark: own\nseeds: [0]\nmodels: [org/model]\ntemplate: {text: '{prompt}'}\nmethods: [sft]\n"
    rest += "evaluate: [dolly]\ndecoding: {t: {temperature: 1}}\nmetrics: [length]\n"
    file.write_text(lines + rest, encoding="utf-8")
    assert load_benchmark(file, registry=load_registry()).train.options["id"] == "owner/name"
