"""Benchmarks by name: those that ship are found wherever a command is called, listed, and copied for editing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.benchmark import load_benchmark
from harness.benchmark.shipped import find_benchmark, shipped_files
from harness.cli import main
from harness.errors import InputError
from harness.plugins.loader import load_registry

NAMES = sorted(path.stem for path in (Path(__file__).resolve().parents[2] / "benchmarks").glob("*.yaml"))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def harness(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def test_all_files_of_the_repository_ship() -> None:
    assert list(shipped_files()) == NAMES
    assert "dolly" in NAMES


def test_they_are_listed_with_titles_and_profiles() -> None:
    lines = harness("benchmarks").stdout.splitlines()
    assert [line.split()[0] for line in lines[2:]] == NAMES
    dolly = next(line for line in lines if line.startswith("dolly "))
    assert "quick, laptop, smollm2, paper" in dolly
    assert dolly.endswith("Instruction following on Dolly and cross-dataset generalisation")
    listed = json.loads(harness("benchmarks", "--json").stdout)
    assert [one["name"] for one in listed] == NAMES
    (found,) = [one for one in listed if one["name"] == "dolly"]
    assert [(one["name"], one["default"]) for one in found["profiles"]] == [
        ("quick", True), ("laptop", False), ("smollm2", False), ("paper", False),
    ]  # fmt: skip
    assert found["profiles"][0]["title"] == "Instruction following on generated data, from random weights"
    assert Path(found["path"]).is_file()


def test_a_name_is_a_benchmark_that_ships() -> None:
    assert find_benchmark(Path("dolly")) == shipped_files()["dolly"]
    result = harness("validate", "dolly", "--profile", "quick")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("ok: dolly, profile quick\n")
    result = harness("status", "dolly", "--json")
    assert json.loads(result.stdout)["stages"]["done"] == 0
    assert not Path("results").exists()


def test_a_folder_of_that_name_hides_nothing() -> None:
    Path("dolly").mkdir()
    assert find_benchmark(Path("dolly")) == shipped_files()["dolly"]


@pytest.mark.parametrize("name", ["dolly", "dolly.yaml", "dolly.yml"])
def test_a_file_of_the_folder_comes_first(name: str) -> None:
    Path(name).write_text("benchmark: mine\n", encoding="utf-8")
    assert find_benchmark(Path("dolly")) == Path(name)
    result = harness("plan", "dolly")
    assert result.exit_code == 2
    assert f"error: {name}" in result.stderr
    said = f"note: {name} of this folder is used, not the benchmark dolly that ships"
    assert said in result.stderr


def test_a_file_by_its_whole_name_needs_no_word() -> None:
    Path("dolly.yaml").write_text("benchmark: mine\n", encoding="utf-8")
    assert "note:" not in harness("plan", "dolly.yaml").stderr


def test_a_file_that_does_not_ship_may_be_named_without_its_ending() -> None:
    Path("mine.yaml").write_text("benchmark: mine\n", encoding="utf-8")
    assert find_benchmark(Path("mine")) == Path("mine.yaml")


def test_what_is_neither_is_told_with_what_there_is() -> None:
    with pytest.raises(InputError) as caught:
        find_benchmark(Path("doly"))
    said = "doly: there is no such file, and no benchmark of this name ships; expected a file, or one of "
    assert str(caught.value).startswith(said)
    assert f"{', '.join(NAMES)}; did you mean 'dolly'?" in str(caught.value)
    Path("dolli.yaml").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match=r"did you mean 'dolli\.yaml'\?"):
        find_benchmark(Path("dolli.yam"))


@pytest.mark.parametrize("path", ["dolly.yaml", "benchmarks/dolly.yaml", "nowhere/dolly"])
def test_a_missing_file_called_like_a_benchmark(path: str) -> None:
    result = harness("run", path)
    assert result.exit_code == 2
    assert f"error: {path}: no such file; did you mean 'dolly'?" in result.stderr
    assert "`harness init dolly` copies its file here" in result.stderr
    assert "Traceback" not in result.output


def test_a_missing_file_beside_one_that_is_meant() -> None:
    Path("dolly2.yaml").write_text("", encoding="utf-8")
    result = harness("run", "./dolly.yaml")
    assert result.stderr == "error: dolly.yaml: no such file; did you mean 'dolly2.yaml'?\n"


def test_init_copies_the_file_and_never_overwrites(folder: Path) -> None:
    result = harness("init", "dolly")
    assert result.exit_code == 0, result.output
    assert result.stdout == "dolly.yaml written; edit it, then: harness run dolly.yaml\n"
    assert (folder / "dolly.yaml").read_bytes() == shipped_files()["dolly"].read_bytes()
    (folder / "dolly.yaml").write_text("mine", encoding="utf-8")
    again = harness("init", "dolly")
    assert again.exit_code == 2
    assert again.stderr.startswith("error: dolly.yaml: there is a file already, and nothing is overwritten")
    assert (folder / "dolly.yaml").read_text(encoding="utf-8") == "mine"


def test_init_with_another_profile_under_another_name(folder: Path) -> None:
    assert harness("init", "xsum", "own.yaml", "--profile", "laptop").exit_code == 0
    found = load_benchmark(folder / "own.yaml", registry=load_registry())
    assert found.profile == "laptop"
    text = (folder / "own.yaml").read_text(encoding="utf-8")
    assert text.replace("profile: laptop", "profile: quick", 1) == shipped_files()["xsum"].read_text(encoding="utf-8")


def test_init_into_a_folder(folder: Path) -> None:
    (folder / "there").mkdir()
    assert harness("init", "hh", "there").stdout.startswith("there/hh.yaml written")


def test_init_says_what_there_is() -> None:
    result = harness("init", "doly")
    assert result.exit_code == 2
    assert "no benchmark of this name ships, got 'doly'" in result.stderr
    assert "did you mean 'dolly'?" in result.stderr
    result = harness("init", "dolly", "--profile", "quik")
    assert "error: --profile: dolly has no such profile, got 'quik'" in result.stderr
    assert "did you mean 'quick'?" in result.stderr
    assert not Path("dolly.yaml").exists()


def test_init_where_nothing_can_be_written() -> None:
    result = harness("init", "dolly", "nowhere/dolly.yaml")
    assert result.exit_code == 3
    assert "error: nowhere/dolly.yaml: cannot write: No such file or directory" in result.stderr
