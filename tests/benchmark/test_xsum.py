"""The benchmarks on summaries that ship: one setting in each profile, and what each of them varies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.benchmark import load_benchmark
from harness.plan import build_plan
from harness.plugins.loader import load_registry
from harness.store.stages import Store

if TYPE_CHECKING:
    from harness.plugins.registry import Registry
    from harness.spec.benchmark import Benchmark

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
VARIED = ("ablation-k", "ablation-coef", "ablation-schedule", "seeds")
PROFILES = ("quick", "laptop", "paper")


@pytest.fixture(scope="module")
def real_registry() -> Registry:
    return load_registry()


@pytest.fixture(scope="module")
def resolved(real_registry: Registry) -> dict[tuple[str, str], Benchmark]:
    return {
        (name, profile): load_benchmark(FOLDER / f"{name}.yaml", registry=real_registry, profile=profile)
        for name in ("xsum", *VARIED, "multi-reward")
        for profile in PROFILES
    }


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", VARIED)
def test_the_setting_is_that_of_xsum(name: str, profile: str, resolved: dict[tuple[str, str], Benchmark]) -> None:
    """What is not varied is equal, so that supervised stages are shared and figures can stand side by side."""
    mine, base = resolved[name, profile], resolved["xsum", profile]
    for part in ("template", "train", "validation", "evaluate", "reward", "recipe"):
        assert getattr(mine, part) == getattr(base, part), part
    assert mine.decoding["t1"] == base.decoding["t1"]
    assert {model.name for model in mine.models} <= {model.name for model in base.models}
    assert all(entry.recipe == mine.recipe for entry in mine.methods)


def test_the_supervised_stages_are_shared(
    real_registry: Registry, resolved: dict[tuple[str, str], Benchmark], tmp_path: Path
) -> None:
    found = []
    for name in ("xsum", "ablation-k", "ablation-coef", "seeds"):
        plan = build_plan(resolved[name, "quick"], real_registry, Store(tmp_path))
        supervised = [stage for stage in plan.stages.values() if stage.kind == "train" and "/sft/" in stage.label]
        found.append({stage.label: stage.config for stage in supervised if "/seed 0/" in stage.label})
    assert len(found[0]) == 2
    assert all(stages == found[0] for stages in found)


@pytest.mark.parametrize("profile", PROFILES)
def test_xsum_compares_the_five_methods(profile: str, resolved: dict[tuple[str, str], Benchmark]) -> None:
    found = resolved["xsum", profile]
    assert [entry.label for entry in found.methods] == ["sft", "unlikelihood", "drl", "rrhf", "eso"]
    assert {"rouge", "gleu"} <= {use.use for use in found.metrics}
    assert found.decoding["t1"].temperature == 1


@pytest.mark.parametrize("profile", PROFILES)
def test_candidates_lie_evenly(profile: str, resolved: dict[tuple[str, str], Benchmark]) -> None:
    base, *rows = resolved["ablation-k", profile].methods
    assert base.use == "sft"
    found = {(len(row.options["temperatures"]), row.options["k_reduction"]) for row in rows}
    assert found == {(k, how) for k in (4, 6, 8) for how in ("sum", "mean")}
    for row in rows:
        warmth = row.options["temperatures"]
        assert row.label == f"k={len(warmth)}, {row.options['k_reduction']}"
        step = 1.5 / (len(warmth) - 1)
        assert warmth == pytest.approx([0.5 + step * place for place in range(len(warmth))], abs=6e-4)
    assert len({row.options["coef"] for row in rows}) == 1


@pytest.mark.parametrize("profile", PROFILES)
def test_coefficients_are_those_of_the_paper(profile: str, resolved: dict[tuple[str, str], Benchmark]) -> None:
    rows = resolved["ablation-coef", profile].methods
    assert [row.options["coef"] for row in rows[1:]] == [0.05, 0.10, 0.50, 1.00]
    assert all(row.options["temperatures"] == [0.5, 1.0, 1.5, 2.0] for row in rows[1:])


@pytest.mark.parametrize("profile", PROFILES)
def test_schedules_differ_in_when_alone(profile: str, resolved: dict[tuple[str, str], Benchmark]) -> None:
    rows = resolved["ablation-schedule", profile].methods
    assert [row.active for row in rows[1:]] == ["last", "all_but_last", "all"]
    assert all(row.options == rows[1].options for row in rows[1:])


@pytest.mark.parametrize("profile", PROFILES)
def test_there_are_five_seeds(profile: str, resolved: dict[tuple[str, str], Benchmark]) -> None:
    found = resolved["seeds", profile]
    assert "seeds" in found.tables
    assert [entry.use for entry in found.methods] == ["sft", "eso"]
    assert len(found.seeds) == 5


@pytest.mark.parametrize("profile", PROFILES)
def test_weights_of_two_parts_are_swept_for_two_methods(
    profile: str, resolved: dict[tuple[str, str], Benchmark]
) -> None:
    found, base = resolved["multi-reward", profile], resolved["xsum", profile]
    for part in ("template", "train", "validation", "evaluate", "recipe"):
        assert getattr(found, part) == getattr(base, part), part
    assert found.reward is not None
    assert [part.label for part in found.reward.parts] == ["rouge", "repetition", "length"]
    swept = {use: [row.reward_weights for row in found.methods if row.use == use] for use in ("eso", "ppo")}
    assert swept["eso"] == swept["ppo"]
    assert len(swept["eso"]) == (9 if profile == "paper" else 4)
    assert {"repetition": 0.0, "length": 0.0} in swept["eso"]
    assert len(found.pareto) == 3


def test_paper_is_the_papers_setting(resolved: dict[tuple[str, str], Benchmark]) -> None:
    found = resolved["xsum", "paper"]
    assert [model.name for model in found.models] == ["openai-community/gpt2-medium", "facebook/opt-350m"]
    assert [model.name for model in resolved["ablation-k", "paper"].models] == ["facebook/opt-350m"]
    recipe = found.recipe
    assert (recipe.epochs, recipe.max_prompt_length, recipe.max_completion_length, recipe.batch_size) == (
        5,
        512,
        128,
        16,
    )
    assert found.methods[-1].options["coef"] == 0.05
    assert found.published == "eso-coling-2025"
