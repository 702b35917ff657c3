"""The benchmarks on checkable tasks: one setting with fallible and with right demonstrations, and what is measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.benchmark import load_benchmark
from harness.errors import InputError
from harness.plan import build_plan
from harness.plugins.loader import load_registry
from harness.report.claims import claims_for
from harness.store.stages import Store

if TYPE_CHECKING:
    from harness.plugins.registry import Registry
    from harness.spec.benchmark import Benchmark

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
PROFILES = ("quick", "smollm2")


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry()


def load(registry: Registry, name: str, profile: str, *overrides: str) -> Benchmark:
    return load_benchmark(FOLDER / f"{name}.yaml", registry=registry, profile=profile, overrides=overrides)


@pytest.mark.parametrize("profile", PROFILES)
def test_the_two_differ_in_the_demonstrations_alone(registry: Registry, profile: str) -> None:
    fallible, clean = (load(registry, name, profile) for name in ("reasoning", "reasoning-clean"))
    uses = [(found.train, found.validation, *found.evaluate) for found in (fallible, clean)]
    for one, other in zip(*uses, strict=True):
        assert one is not None
        assert other is not None
        assert (one.options["slips"], other.options["slips"]) == (0.5, 0.0)
        assert one.model_copy(update={"options": {**one.options, "slips": 0.0}}) == other
    named = {"benchmark", "title", "train", "validation", "evaluate"}
    if profile == "smollm2":  # some of the rows
        named |= {"methods"}
        assert all(entry in fallible.methods for entry in clean.methods)
    assert fallible.model_dump(exclude=named) == clean.model_dump(exclude=named)


@pytest.mark.parametrize("profile", PROFILES)
def test_what_is_measured(registry: Registry, profile: str, tmp_path: Path) -> None:
    found = load(registry, "reasoning", profile)
    assert next(iter(found.decoding.items()))[1].temperature == 0.0
    used = list(dict.fromkeys(entry.use for entry in found.methods))
    assert used == ["sft", "eso", "rloo", "grpo", "best-of-n", *(["parameter-es"] if profile == "quick" else [])]
    assert len({entry.start for entry in found.methods if entry.label != "sft"}) == 1
    plan = build_plan(found, registry, Store(tmp_path))
    cells = {cell.decoding: set(cell.scores) for row in plan.rows for cell in row.cells}
    once = {"divergence", "minimal-pairs", "text-loss"} if profile == "smollm2" else set()  # of no decoding
    assert cells == {"greedy": {"accuracy", "length"} | once, "t1": {"accuracy", "length", "pass-at-k"}}
    assert len(found.seeds) == 5
    if profile == "quick":
        for seed in found.seeds:
            starts = {row.chain[0].key for row in plan.rows if row.seed == seed and row.chain}
            assert len(starts) == 1  # one supervised start for all


def test_on_the_pretrained_model_terms_are_equal(registry: Registry, tmp_path: Path) -> None:
    found = load(registry, "reasoning", "smollm2")
    plan = build_plan(found, registry, Store(tmp_path))
    assert found.recipe.budget is not None
    assert found.recipe.budget.unit == "sampled_tokens"
    sampled = [entry for entry in found.methods if entry.use != "sft"]
    assert {entry.recipe.budget for entry in sampled} == {found.recipe.budget}
    assert {entry.use for entry in sampled if not entry.trials} == {"eso", "best-of-n"}  # as published
    assert {len(entry.trials) for entry in found.methods} == {0, 4}
    assert {entry.use for entry in found.methods if entry.trials} == {"sft", "eso", "rloo", "grpo", "best-of-n"}
    assert len({row.chain[0].key for row in plan.rows if row.seed == 0 and row.chain}) == 1


def test_a_claim_is_about_rows_and_columns_that_are_there(registry: Registry) -> None:
    for name in ("reasoning", "reasoning-clean"):
        found = load(registry, name, "quick")
        (claim,) = [claim for claim in claims_for(name) if claim.made]
        assert {claim.row, *claim.others} <= {entry.use for entry in found.methods}
        for column in claim.columns:
            metric, _, wanted = column.partition(".")
            (use,) = [use for use in found.metrics if use.use == metric]
            registration: Any = registry.resolved("metric", metric, use.options)
            assert wanted in {each.name for each in registration.columns}


def test_pass_at_k_wants_as_many_draws(registry: Registry) -> None:
    with pytest.raises(InputError) as caught:
        load(registry, "reasoning", "quick", "decoding.t1.draws=3")
    said = str(caught.value)
    assert "metrics.pass-at-k: metric pass-at-k takes 4 answers to a prompt, and no decoding draws as many" in said
    assert "got 3; expected draws: 4 or more in a decoding" in said


def test_pass_at_k_chooses_nothing(registry: Registry) -> None:
    tune = "tune={options: {methods.rloo.num_generations: [2, 4]}, metric: pass-at-k}"
    with pytest.raises(InputError, match=r"tune\.metric: cannot choose: it takes 4 answers to a prompt"):
        load(registry, "reasoning", "quick", tune)
    metrics, plain = "metrics=[pass-at-k, accuracy]", tune.replace(", metric: pass-at-k", "")
    chosen = load(registry, "reasoning", "quick", plain, metrics)
    assert chosen.tune is not None
    assert chosen.tune.metric == "accuracy.strict"
