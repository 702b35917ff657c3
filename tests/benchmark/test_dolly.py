"""The benchmark file that ships."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.benchmark import json_schema, load_benchmark, profiles
from harness.plugins.loader import load_registry

if TYPE_CHECKING:
    from harness.plugins.registry import Registry
    from harness.spec.benchmark import Benchmark

DOLLY = Path(__file__).resolve().parents[2] / "benchmarks" / "dolly.yaml"
FIVE = ["sft", "unlikelihood", "drl", "rrhf", "eso"]


@pytest.fixture(scope="module")
def real_registry() -> Registry:
    return load_registry()


@pytest.fixture(scope="module")
def resolved(real_registry: Registry) -> dict[str, Benchmark]:
    return {name: load_benchmark(DOLLY, registry=real_registry, profile=name) for name in profiles(DOLLY)}


def test_quick_is_the_default(real_registry: Registry, resolved: dict[str, Benchmark]) -> None:
    assert list(resolved) == ["quick", "laptop", "smollm2", "paper"]
    assert load_benchmark(DOLLY, registry=real_registry) == resolved["quick"]


@pytest.mark.parametrize("profile", ["quick", "laptop", "paper"])
def test_every_profile_compares_the_five_methods(profile: str, resolved: dict[str, Benchmark]) -> None:
    found = resolved[profile]
    assert [entry.label for entry in found.methods] == FIVE
    assert found.reward is not None
    assert [(part.use, part.options["variant"]) for part in found.reward.parts] == [("rouge", "rougeL")]
    assert found.decoding["t1"].temperature == 1.0
    assert found.decoding["greedy"].temperature == 0.0
    # the budget and the schedule are those of every row, the supervised one included
    assert all(entry.recipe == found.recipe for entry in found.methods)
    assert set(found.tables) >= {"scores", "cross-dataset", "fluency", "decoding", "timing"}
    assert {use.use for use in found.metrics} >= {"rouge", "gleu", "bleu", "diversity", "length"}
    assert len(found.evaluate) == 3


def test_on_the_pretrained_model_terms_are_equal(resolved: dict[str, Benchmark]) -> None:
    found = resolved["smollm2"]
    assert {entry.use for entry in found.methods} == {*FIVE, "rloo", "grpo", "best-of-n"}
    assert [use.dataset for use in found.evaluate] == ["dolly", "self-instruct", "vicuna"]
    assert found.recipe.budget is not None
    sampled = [entry for entry in found.methods if entry.use != "sft"]
    assert {entry.recipe.budget for entry in sampled} == {found.recipe.budget}
    assert {entry.use for entry in sampled if not entry.trials} == set(FIVE) - {"sft"}  # as the paper has them
    assert {entry.use for entry in sampled if entry.trials} == {entry.use for entry in sampled}
    assert {len(entry.trials) for entry in found.methods} == {0, 4}


def test_quick_needs_nothing_from_outside(real_registry: Registry, resolved: dict[str, Benchmark]) -> None:
    found = resolved["quick"]
    assert {use.dataset for use in (found.train, *found.evaluate)} == {"generated-instructions"}
    assert [use.options["variant"] for use in found.evaluate] == ["base", "self-instruct", "vicuna"]
    assert all(use.label and use.label.startswith("generated") for use in found.evaluate)
    assert all(model.config is not None for model in found.models)
    assert len(found.seeds) == 2
    assert found.execution.threads == 1
    assert (found.recipe.epochs, found.recipe.method_epochs, found.recipe.method_schedule) == (6, 1, "restart")
    assert set(found.decoding) == {"t1", "greedy"}


@pytest.mark.parametrize("profile", ["laptop", "paper"])
def test_the_others_use_real_data_and_all_decodings(profile: str, resolved: dict[str, Benchmark]) -> None:
    found = resolved[profile]
    assert found.train.dataset == "dolly"
    assert [use.dataset for use in found.evaluate] == ["dolly", "self-instruct", "vicuna"]
    assert {(s.temperature, s.top_k) for s in found.decoding.values()} == {(1, 0), (0, 0), (0.5, 0), (1, 5), (1, 10)}
    assert (found.recipe.epochs, found.recipe.method_epochs, found.recipe.method_schedule) == (5, 1, "continue")
    assert found.methods[-1].options["coef"] == 0.05
    assert len(found.seeds) >= 3


def test_paper_is_the_papers_setting(resolved: dict[str, Benchmark]) -> None:
    found = resolved["paper"]
    assert [model.name for model in found.models] == ["openai-community/gpt2-medium", "facebook/opt-350m"]
    recipe = found.recipe
    assert (recipe.max_prompt_length, recipe.max_completion_length, recipe.batch_size) == (512, 128, 16)
    assert (recipe.learning_rate, recipe.weight_decay, recipe.schedule) == (1e-4, 0.05, "cosine")
    assert found.methods[-1].options["temperatures"] == [0.5, 1.0, 1.5, 2.0]
    assert found.published == "eso-coling-2025"


def test_sources_stand_for_data_and_model(real_registry: Registry, tmp_path: Path) -> None:
    overrides = [f"sources.{name}={tmp_path}" for name in ("dolly", "self-instruct", "vicuna", "gpt2-7m")]
    found = load_benchmark(DOLLY, registry=real_registry, profile="laptop", overrides=overrides)
    assert [found.train.path, found.models[0].path, *(use.path for use in found.evaluate)] == [str(tmp_path)] * 5
    assert found.overrides == ()


def test_the_file_passes_its_own_schema(real_registry: Registry) -> None:
    from jsonschema import Draft202012Validator
    from ruamel.yaml import YAML

    validator = Draft202012Validator(json_schema(real_registry))
    data = YAML(typ="safe", pure=True).load(DOLLY.read_text(encoding="utf-8"))
    assert [error.message for error in validator.iter_errors(data)] == []
