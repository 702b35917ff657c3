"""The pages about comparing and sharing: every command is run, and prints what the page shows."""

from __future__ import annotations

import re
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from click.testing import CliRunner
from docs.example_run import raise_a_value, write_example
from docs.pages import DOCS

from harness.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator


class Shown(NamedTuple):
    """One command of a page."""

    line: str
    output: list[str]
    """``…`` stands for lines that the page leaves out."""
    exit_code: int
    before: str


def console(page: str) -> list[Shown]:
    """Return the commands of a page's console blocks; a comment before a block has an exit code or a step before it."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found = []
    for comment, block in re.findall(r"(<!-- [^>]* -->\n)?```console\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        code, step = re.search(r"exit: (\d)", comment), re.search(r"before: (\w+)", comment)
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, *output = part.rstrip("\n").split("\n")
            found.append(Shown(line, output, int(code[1]) if code else 0, step[1] if step else ""))
    return found


def longer(manifest: dict[str, Any]) -> None:
    """Let every row of a run train for longer."""
    for entry in manifest["config"]["methods"]:
        entry["recipe"] = {"method_epochs": 2}


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """Return a folder with the results that the pages are about, for copying."""
    memory = Path("/dev/shm")  # noqa: S108  # a folder of one's own in it
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        place = Path(folder)
        write_example(place / "results", ["eso", "drl"])
        write_example(place / "theirs", ["rrhf"])
        write_example(place / "longer", ["eso"], change=longer)
        yield place


@pytest.mark.parametrize("page", ["comparing.md", "sharing.md"])
def test_commands_print_what_the_page_shows(
    page: str, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    commands = console(page)
    assert len(commands) > 3
    for shown in commands:
        if shown.before == "edit":
            raise_a_value(tmp_path / "results/dolly/quick")
        program, *arguments = shlex.split(shown.line)
        assert program == "harness"
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == shown.exit_code, f"{shown.line}\n{result.output}"
        printed = [line.rstrip() for line in result.output.splitlines()]
        assert matches(shown.output, printed), f"{shown.line}\n{result.output}"


def matches(shown: list[str], printed: list[str]) -> bool:
    """Return whether printed lines are those of a page, of which ``…`` stands for any number."""
    if not shown:
        return not printed
    if shown[0].strip() == "…":
        return any(matches(shown[1:], printed[start:]) for start in range(len(printed) + 1))
    return bool(printed) and _plain(shown[0]) == _plain(printed[0]) and matches(shown[1:], printed[1:])


def _plain(line: str) -> str:
    """Return a line without counts that follow from how many tables and forms there are."""
    return re.sub(r"\d+ (?=files,|figures of tables)", "N ", line)


def test_a_page_that_shows_something_else_is_seen() -> None:
    assert matches(["a", "…", "c"], ["a", "b", "b", "c"])
    assert not matches(["a", "c"], ["a", "b", "c"])
    assert not matches(["a"], [])
