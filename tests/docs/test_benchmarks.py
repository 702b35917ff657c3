"""The benchmark files that ship are right, and say so without any data or model."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from hub.rows import write, xsum_row

from harness.benchmark import load_benchmark, profiles
from harness.cli import main
from harness.plan import build_plan
from harness.plugins.loader import load_registry
from harness.store.stages import Store

FILES = sorted((Path(__file__).resolve().parents[2] / "benchmarks").glob("*.yaml"))
_PRETRAINED = ["quick", "laptop", "smollm2", "paper"]
#: What is not ``quick``, ``laptop`` and ``paper``: benchmarks that a pretrained model runs too, and those of no paper.
PROFILES = {
    **dict.fromkeys(["dolly", "hh", "ablation-k"], _PRETRAINED),
    "reasoning": ["quick", "smollm2"],
    "reasoning-clean": ["quick", "smollm2", "smollm2-bits", "smollm2-gcd"],
}
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


@pytest.mark.parametrize(("file", "profile"), CASES, ids=lambda part: getattr(part, "stem", part))
def test_a_profile_can_be_planned(file: Path, profile: str, tmp_path: Path) -> None:
    registry = load_registry()
    found = load_benchmark(file, registry=registry, profile=profile)
    if any(use.options.get("resplit") for use in (found.train, *found.evaluate)):
        # rows that are split anew have to lie in a folder
        for place, name in enumerate(found.train.options["resplit"]):
            write(
                tmp_path / "data" / f"{name}.jsonl", [xsum_row(number) for number in range(10 * place, 10 * place + 9)]
            )
        overrides = [f"sources.{found.train.dataset}={tmp_path / 'data'}"]
        found = load_benchmark(file, registry=registry, profile=profile, overrides=overrides)
    plan = build_plan(found, registry, Store(tmp_path / "results"))
    trained = [stage for stage in plan.stages.values() if stage.kind == "train"]
    assert len({stage.label for stage in trained}) == len(trained) > 0
    assert not (tmp_path / "results").exists()  # a plan writes nothing


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_profiles_ship_and_the_quick_one_is_the_default(file: Path) -> None:
    assert list(profiles(file)) == PROFILES.get(file.stem, ["quick", "laptop", "paper"])
    found = load_benchmark(file, registry=load_registry())
    assert found.profile == "quick"
    generated = {use.dataset for use in (found.train, *found.evaluate)}
    assert all(name.startswith("generated-") for name in generated)  # nothing is fetched
    assert all(model.config is not None for model in found.models)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_command_finds_no_mistake(file: Path) -> None:
    result = CliRunner().invoke(main, ["validate", str(file)])
    assert result.exit_code == 0
    assert result.stdout.startswith(f"ok: {file}, profile ")
