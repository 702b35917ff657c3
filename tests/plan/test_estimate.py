"""Estimates: known when sizes are, and larger for more work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from plan.files import Planner, small

from harness.plan import build_plan
from harness.plan.estimate import Estimate
from harness.store.stages import Store

if TYPE_CHECKING:
    from pathlib import Path

    from harness.plan import Plan


def cost(plan: Plan, kind: str, contains: str = "") -> float:
    """Return the estimated seconds of all stages of a kind."""
    estimate = Estimate(plan)
    seconds = [estimate.seconds(s) for s in plan.stages.values() if s.kind == kind and contains in s.label]
    assert seconds
    assert None not in seconds
    return sum(s for s in seconds if s)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("train", {"recipe": {"epochs": 6}}),
        ("train", {"recipe": {"max_completion_length": 40}}),
        ("train", {"models": [{"name": "new", "vocab_size": 300, "config": {"model_type": "gpt2", "n_layer": 8}}]}),
        ("generate", {"decoding": {"t1": {"max_new_tokens": 24, "draws": 9}}}),
        ("generate", {"decoding": {"t1": {"max_new_tokens": 40, "draws": 2}}}),
        ("score", {"metrics": ["rouge", "perplexity"]}),
    ],
)
def test_more_work_is_estimated_longer(planner: Planner, data: Path, kind: str, change: dict[str, Any]) -> None:
    usual = small(data)
    changed = {**usual, **{key: {**usual[key], **v} if key == "recipe" else v for key, v in change.items()}}
    assert cost(planner.plan(planner.load(changed)), kind) > cost(planner.plan(planner.load(usual)), kind)


@pytest.mark.parametrize("size", ["n_embd", "n_layer", "hidden_size", "num_hidden_layers"])
@pytest.mark.parametrize("value", ["many", -3, 0, 1e9, None, [2]])
def test_a_size_that_is_none_is_for_the_model_to_refuse(planner: Planner, data: Path, size: str, value: Any) -> None:
    config = {"model_type": "gpt2", "n_positions": 96, size: value}
    content = small(data, models=[{"name": "new", "vocab_size": 300, "config": config}])
    assert cost(build_plan(planner.load(content), planner.registry, planner.store), "prepare", "weights") > 0


def test_sampling_costs_more_than_supervised_steps(planner: Planner, data: Path) -> None:
    plan = planner.plan(planner.load(small(data)))
    assert cost(plan, "train", "/eso/") > cost(plan, "train", "/sft/seed 0/epochs 2-3")


def test_a_model_that_scores_reads_prompts_too(planner: Planner, data: Path) -> None:
    def perplexity(longest: int) -> tuple[float, int]:
        """Return what its stages cost, in seconds and tokens."""
        usual = small(data)
        recipe = {**usual["recipe"], "max_prompt_length": longest}
        plan = planner.plan(planner.load({**usual, "recipe": recipe, "metrics": ["rouge", "perplexity"]}))
        stages = [stage for stage in plan.stages.values() if stage.kind == "score" and "perplexity" in stage.label]
        assert stages
        return cost(plan, "score", "perplexity"), sum(Estimate(plan).tokens(stage) or 0 for stage in stages)

    short, long = perplexity(16), perplexity(64)
    assert 0 < short[0] < long[0]
    assert 0 < short[1] < long[1]


def test_a_schedule_that_is_cut_costs_as_much_as_one_that_is_not(planner: Planner, data: Path) -> None:
    methods = ["sft", {"use": "sft", "label": "straight", "active": "all"}]
    plan = planner.plan(planner.load(small(data, methods=methods, seeds=[0])))
    estimate = Estimate(plan)
    tokens = {s.label: estimate.tokens(s) or 0 for s in plan.stages.values() if s.kind == "train"}
    whole = tokens["new/straight/seed 0/epochs 0-3"]
    cut = tokens["new/sft/seed 0/epochs 0-2"] + tokens["new/sft/seed 0/epochs 2-3"]
    assert whole == pytest.approx(cut, abs=2)  # each is rounded


def test_sizes_are_unknown_until_the_rows_are(planner: Planner, data: Path, tmp_path: Path) -> None:
    plan = build_plan(planner.load(small(data)), planner.registry, Store(tmp_path))
    estimate = Estimate(plan)
    trained = [stage for stage in plan.stages.values() if stage.kind == "train"]
    assert {(estimate.tokens(stage), estimate.seconds(stage)) for stage in trained} == {(None, None)}
    limited = small(data, train={"dataset": "files", "path": str(data), "limit": 3})
    plan = build_plan(planner.load(limited), planner.registry, Store(tmp_path))
    assert all(Estimate(plan).seconds(s) for s in plan.stages.values() if s.kind == "train")


def test_every_stage_has_an_estimate(planner: Planner, data: Path) -> None:
    models = [*small(data)["models"], "someone/model"]
    content = small(data, models=models, metrics=["rouge", "perplexity", "reference-loss"])
    plan = planner.plan(planner.load(content))
    estimate = Estimate(plan)
    for stage in plan.stages.values():
        assert (estimate.seconds(stage) or 0) > 0
        assert (estimate.tokens(stage) or 0) >= 0
        assert estimate.disk(stage) >= 0
