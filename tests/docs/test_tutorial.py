"""The tutorial's commands are run, in the order of the page, and say what it shows."""

from __future__ import annotations

import os
import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from docs.pages import DOCS, called, marked_commands, marked_output, quoted_files, text_of
from execution import warm

from harness import load_results

if TYPE_CHECKING:
    from pathlib import Path

PAGE = "tutorial.md"

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the commands are given, with the files that the page names."""
    here = tmp_path_factory.mktemp("tutorial")
    for page in (PAGE, "own-method.md"):
        for name, text in quoted_files(page).items():
            (here / name).write_text(text, encoding="utf-8")
    return here


@pytest.fixture(scope="module")
def first(folder: Path) -> str:
    """Return what the run of the page printed."""
    (line,) = marked_commands(PAGE, "first")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("COLUMNS", "100")
        warm.fork_workers(patch)
        done = called(line)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(autouse=True)
def _there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "100")


def shape(text: str) -> Counter[str]:
    """Return the lines without their numbers, in whatever order rows are, and without the verdict."""
    table, _, rest = text.partition("\n\n")[2].partition("\n\n")
    places = rest.partition("\n\n")[2]
    plain = re.sub(r"quick-[0-9a-f]{8}", "RUN", f"{table}\n{places}")
    plain = re.sub(r"[-+]?\d+(\.\d+)?", "N", plain.replace(f"{os.sep}", "/"))
    return Counter(" ".join(line.split()) for line in plain.splitlines())


def test_it_installs_as_the_readme_does() -> None:
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    (installed,) = re.findall(r"^<!-- run -->\n```sh\n(.*?)^\.venv/bin/harness", readme, re.DOTALL | re.MULTILINE)
    assert f"```sh\n{installed}" in text_of(PAGE)


def test_the_run_ends_as_the_page_shows(first: str) -> None:
    shown = marked_output(PAGE, "first")
    assert shape(first) == shape(shown), first
    assert first.partition("\n\n")[0] == shown.partition("\n\n")[0]


def test_what_the_page_says_of_the_table_is_in_it(first: str) -> None:
    explained = text_of(PAGE).partition("## What the lines mean")[2].partition("## ")[0]
    shown = " ".join(marked_output(PAGE, "first").split()).lower()
    for cell in re.findall(r"^\| (.*?) \| ", explained, re.MULTILINE)[1:]:
        for name in re.findall(r"`(.*?)`", cell):
            assert name.lower() in shown, name
    assert text_of(PAGE).count(re.findall(r"quick-[0-9a-f]{8}", shown)[0]) >= 4


@pytest.mark.usefixtures("first")
def test_numbers_are_there_to_look_further(folder: Path) -> None:
    (run,) = (folder / "results" / "dolly").iterdir()
    scores = load_results(run).scores
    assert set(scores["row"]) == {"base", "sft", "eso"}
    assert len(scores) == 3 * 3 * 2 * 24  # rows, seeds, decodings, prompts


@pytest.mark.usefixtures("first")
@pytest.mark.parametrize("mark", ["further", "method", "data"])
def test_every_other_command_ends_well(mark: str) -> None:
    for line in marked_commands(PAGE, mark):
        done = called(line)
        assert done.exit_code == 0, f"{line}\n{done.output}"
        assert done.stdout


@pytest.mark.usefixtures("first")
def test_a_report_has_the_two_places_to_look_at() -> None:
    full = called(marked_commands(PAGE, "further")[0]).stdout
    assert "## Training signal" in full
    assert "flat groups %" in full
    assert "Minimum detectable effect" in full
