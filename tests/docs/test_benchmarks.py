"""The benchmark files that ship are right, and say so without any data or model."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.benchmark import load_benchmark, profiles
from harness.cli import main
from harness.plugins import load_registry

FILES = sorted((Path(__file__).resolve().parents[2] / "benchmarks").glob("*.yaml"))
CASES = [(file, profile) for file in FILES for profile in profiles(file)]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path))


def test_there_are_profiles() -> None:
    assert len(CASES) >= 3


@pytest.mark.parametrize(("file", "profile"), CASES, ids=lambda part: getattr(part, "stem", part))
def test_a_profile_is_valid(file: Path, profile: str, tmp_path: Path) -> None:
    found = load_benchmark(file, registry=load_registry(), profile=profile)
    assert found.profile == profile
    assert found.benchmark == file.stem
    assert found.sources == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_command_finds_no_mistake(file: Path) -> None:
    result = CliRunner().invoke(main, ["validate", str(file)])
    assert result.exit_code == 0
    assert result.stdout.startswith(f"ok: {file}, profile ")
