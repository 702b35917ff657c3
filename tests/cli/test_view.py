"""``harness view``."""

from __future__ import annotations

import webbrowser
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from report.synthetic import Run

from harness.cli import main
from harness.errors import StorageError
from harness.report.publish import publish
from harness.report.write import write_tables

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "results", seeds=(0,), examples=3)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked: list[str] = []

    def note(url: str) -> bool:
        asked.append(url)
        return True

    monkeypatch.setattr(webbrowser, "open", note)
    return asked


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["view", *(str(argument) for argument in arguments)])


def two(run: Run) -> Path:
    """Write a run and another one beside it, and return the first one's folder."""
    folder = run.write()
    write_tables(run.root, folder)
    other = run.root / "small" / "laptop"
    other.mkdir()
    (other / "manifest.json").write_bytes((folder / "manifest.json").read_bytes())
    return folder


def test_the_only_run_needs_no_name(run: Run, opened: list[str]) -> None:
    folder = run.write()
    write_tables(run.root, folder)
    result = call("--results", run.root)
    assert (result.exit_code, result.output) == (0, f"{folder / 'leaderboard.html'}\n")
    assert opened == [(folder / "leaderboard.html").as_uri()]


@pytest.mark.parametrize("given", ["name", "folder"])
def test_a_run_is_named_by_its_place_or_its_folder(run: Run, opened: list[str], given: str) -> None:
    folder = two(run)
    result = call("small/quick" if given == "name" else folder, "--results", run.root, "--print")
    assert (result.exit_code, result.output) == (0, f"{folder / 'leaderboard.html'}\n")
    assert opened == []


@pytest.mark.parametrize("given", ["option", "argument"])
def test_of_several_runs_the_page_over_all_is_opened(run: Run, opened: list[str], given: str) -> None:
    two(run)
    result = call(*(["--results"] if given == "option" else []), run.root)
    assert (result.exit_code, result.output) == (0, f"{run.root / 'index.html'}\n")
    text = (run.root / "index.html").read_text(encoding="utf-8")
    assert '<a href="small/quick/leaderboard.html">small/quick</a>' in text
    assert "small/laptop</th>" in text  # which has no page yet
    assert opened == [(run.root / "index.html").as_uri()]


def test_what_is_published_has_a_page_over_all_too(run: Run, opened: list[str]) -> None:
    folder = run.write()
    write_tables(run.root, folder)
    target = publish(run.root, folder)
    (folder / "manifest.json").unlink()
    result = call("--results", run.root, "--print")
    assert result.output == f"{run.root / 'index.html'}\n"
    text = (run.root / "index.html").read_text(encoding="utf-8")
    assert '<a href="published/small/quick/leaderboard.html">small/quick</a>' in text
    assert '<a href="small/quick/leaderboard.html">' in (target.parents[1] / "index.html").read_text(encoding="utf-8")
    assert call(target, "--print").output == f"{target / 'leaderboard.html'}\n"


def test_a_run_without_a_page_says_how_to_make_it(run: Run) -> None:
    folder = run.write()
    result = call("small/quick", "--results", run.root)
    assert result.exit_code == 2
    assert f"the run has no page yet harness report {folder} makes it" in " ".join(result.stderr.split())


@pytest.mark.parametrize("arguments", [(), ("small/quik",)])
def test_what_is_not_there_is_one_message(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    result = call(*arguments, "--results", tmp_path)
    assert result.exit_code == 2
    assert "no run has left its results there" in result.stderr


def test_without_a_browser_the_path_is_enough(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tables(run.root, run.write())
    monkeypatch.setattr(webbrowser, "open", lambda _: False)
    result = call("--results", run.root)
    assert result.exit_code == 0
    assert "no browser could be started" in result.stderr


def test_where_nothing_may_be_written_the_page_that_is_there_is_opened(
    run: Run, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    two(run)

    def refuse(*_: object) -> None:
        error = StorageError("cannot write: read-only file system")
        error.read_only = True
        raise error

    monkeypatch.setattr("harness.report.page.index.replace_text", refuse)
    result = call("--results", run.root)
    assert result.exit_code == StorageError.exit_code
    assert not opened
    (run.root / "index.html").write_text("an older one", encoding="utf-8")
    assert call("--results", run.root).exit_code == 0
    assert opened == [(run.root / "index.html").as_uri()]
