"""``harness report``."""

from __future__ import annotations

import errno
import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from report.synthetic import Run

from harness.cli import main
from harness.store.files import dump, seal
from harness.store.identity import file_digest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "results", seeds=(0,), examples=3)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["report", *(str(argument) for argument in arguments)])


def test_the_only_run_needs_no_name(run: Run) -> None:
    folder = run.write()
    result = call("--results", run.root, "--full")
    assert result.exit_code == 0, result.output
    assert result.stdout.rstrip("\n") == (folder / "leaderboard.md").read_text(encoding="utf-8").rstrip("\n")
    assert not (run.root / "published").exists()


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_run_is_named_by_its_place_or_its_folder(run: Run, *, elsewhere: bool) -> None:
    folder = run.write()
    arguments = [folder] if elsewhere else ["small/quick", "--results", run.root]
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Small (quick): ROUGE-L, higher is better")
    assert "not stored" not in result.stdout


def test_the_headline_and_what_it_says(run: Run) -> None:
    folder = run.write()
    lines = call("small/quick", "--results", run.root).stdout.splitlines()
    assert [line.split()[0] for line in lines[2:6]] == ["method", "eso", "sft", "base"]
    assert lines[7] == "One seed: nothing is claimed. eso has the highest mean on in-data (+2.90 over sft)."
    assert lines[-1] == f"all tables here: harness report {folder} --full"
    assert len(lines) == 12


def test_json_is_the_file(run: Run) -> None:
    folder = run.write()
    result = call("small/quick", "--results", run.root, "--json")
    assert json.loads(result.stdout) == json.loads((folder / "leaderboard.json").read_text(encoding="utf-8"))


def test_publishing_is_asked_for(run: Run) -> None:
    run.write()
    result = call("--results", run.root, "--publish")
    target = run.root / "published" / "small" / "quick"
    assert result.stderr == f"published in {target}\n"
    assert (target / "leaderboard.md").is_file()
    assert call("--results", run.root).exit_code == 0  # what is published is no second run


def test_of_several_runs_one_must_be_named(run: Run) -> None:
    folder = run.write()
    other = run.root / "small" / "laptop"
    other.mkdir()
    (other / "manifest.json").write_bytes((folder / "manifest.json").read_bytes())
    result = call("--results", run.root)
    assert result.exit_code == 2
    assert "error: " in result.stderr
    assert "there are several runs: say which; expected one of small/laptop, small/quick" in result.stderr


@pytest.mark.parametrize("name", ["small/quik", "../..", "store", "/nowhere"])
def test_a_run_that_is_not_there(run: Run, name: str) -> None:
    run.write()
    result = call(name, "--results", run.root)
    assert result.exit_code == 2
    assert f"there is no such run, got {name!r}; expected one of small/quick" in result.stderr


def test_a_folder_without_results(tmp_path: Path) -> None:
    result = call("--results", tmp_path / "nothing")
    assert result.exit_code == 2
    assert "no run has left its results there" in result.stderr


def test_results_of_another_format(run: Run) -> None:
    folder = run.write()
    (folder / "manifest.json").write_text(dump(seal({"format": 9})), encoding="utf-8")
    result = call("--results", run.root)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "written in another format, got 9; expected format 1" in result.stderr


def test_a_damaged_stage_is_one_message(run: Run) -> None:
    run.write()
    path = next((run.root / "store" / "score").glob("*/means.json"))
    path.write_bytes(path.read_bytes().replace(b"0", b"1"))
    result = call("--results", run.root)
    assert result.exit_code == 1
    assert "means.json is not what was written" in result.stderr
    assert "Traceback" not in result.output


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("published", [False, True])
def test_a_copy_without_its_store_is_refused_and_stays_as_it_is(run: Run, tmp_path: Path, *, published: bool) -> None:
    folder = run.write()
    assert call("--results", run.root, "--publish").exit_code == 0
    copy = tmp_path / "copy" / "results" / "small" / "quick"
    shutil.copytree(run.root / "published" / "small" / "quick" if published else folder, copy)
    before = content(tmp_path)
    result = call(copy)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.count("error: ") == 1
    assert "8 of the 8 stages behind these numbers are not in the store; the tables stay as they are" in result.stderr
    assert "--partial" in result.stderr
    assert content(tmp_path) == before
    assert not (copy.parents[1] / "store").exists()
    assert call(copy, "--publish").exit_code == 2
    assert content(tmp_path) == before


def test_what_is_there_is_tabulated_where_that_is_wanted(run: Run) -> None:
    folder = run.write()
    assert call("--results", run.root).exit_code == 0
    before = content(folder)
    gone = next((run.root / "store" / "score").iterdir())
    shutil.rmtree(gone)
    result = call("--results", run.root)
    assert result.exit_code == 2
    assert "1 of the 8 stages" in result.stderr
    assert content(folder) == before
    result = call("--results", run.root, "--partial")
    assert result.exit_code == 0, result.output
    assert "warning: left out: 1 of 8 stages are not in the store" in result.stderr
    assert "not stored" in result.stdout
    assert "not stored" in (folder / "leaderboard.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("shorter", [False, True])
def test_a_damaged_stage_stays_and_is_left_out_where_that_is_wanted(run: Run, *, shorter: bool) -> None:
    run.write()
    path = next((run.root / "store" / "score").glob("*/means.json"))
    path.write_bytes(path.read_bytes()[:-1] if shorter else path.read_bytes().replace(b"0", b"1"))
    before = content(run.root)
    result = call("--results", run.root)
    assert (result.exit_code, result.stdout) == (1, "")
    assert content(run.root) == before
    result = call("--results", run.root, "--partial")
    assert result.exit_code == 0, result.output
    assert "warning: left out, damaged: score tiny/" in result.stderr
    assert {name: part for name, part in content(run.root).items() if "store" in name} == {
        name: part for name, part in before.items() if "store" in name
    }


def rewritten(stage: Path, file: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a stage's file of JSON, the first line of one of lines, as another release would have written it."""
    first, newline, others = (stage / file).read_text(encoding="utf-8").partition("\n")
    lines = file.endswith(".jsonl")
    value = json.loads(first if lines else first + newline + others)
    change(value)
    (stage / file).write_text(json.dumps(value) + (newline + others if lines else ""), encoding="utf-8")
    manifest = json.loads((stage / "manifest.json").read_text(encoding="utf-8"))
    if file == "manifest.json":
        manifest = value
    else:
        manifest["files"][file] = {"sha256": file_digest(stage / file), "size": (stage / file).stat().st_size}
    (stage / "manifest.json").write_text(dump(seal(manifest)), encoding="utf-8")


@pytest.mark.parametrize(
    ("kind", "file", "change", "says"),
    [
        ("score", "metrics.json", {"signature": None}, "metrics.json has another form"),
        ("score", "config.json", {"metrics": 1}, "config.json has another form"),
        ("score", "manifest.json", {"format": 1}, "this stage was written in another format"),
        ("train", "summary.json", {"new": 1}, "summary.json has another form"),
        ("train", "train.jsonl", {"step": "first"}, "train.jsonl has another form"),
        ("generate", "samples.jsonl", {"words": 3}, "samples.jsonl has another form"),
    ],
)
def test_a_stage_of_another_release_is_left_out_where_that_is_wanted(
    run: Run, kind: str, file: str, change: dict[str, Any], says: str
) -> None:
    run.write()
    stage = next((run.root / "store" / kind).iterdir())
    rewritten(stage, file, lambda value: value.update(change))
    before = content(run.root / "store")
    result = call("--results", run.root, "--partial")
    assert result.exit_code == 0, result.output
    assert "warning: left out: 1 of 8 stages were written by another release (" in result.stderr
    assert says in result.stderr
    assert content(run.root / "store") == before
    if kind != "train":
        assert "not stored" in result.stdout
    if file not in {"train.jsonl", "samples.jsonl"}:  # which no table here reads
        assert call("--results", run.root).exit_code == 1


def test_tables_are_printed_where_nothing_may_be_written(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run.write()
    whole = call("--results", run.root)
    before = content(run.root)
    forbid(monkeypatch, errno.EROFS)
    result = call("--results", run.root)
    assert (result.exit_code, result.stdout) == (0, whole.stdout)
    assert "warning: the tables are printed and not written: " in result.stderr
    assert "Read-only file system" in result.stderr
    assert json.loads(call("--results", run.root, "--json").stdout)["benchmark"] == "small"
    assert content(run.root) == before
    forbid(monkeypatch, errno.ENOSPC)  # that is no choice of anybody's
    assert call("--results", run.root).exit_code == 3
    assert folder.is_dir()


def forbid(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let the system refuse to write: who runs the tests may be root, whom no permission stops."""

    def refuse(path: Path, *_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr("harness.disk.open_file", refuse)
