"""GRPO and its kin against their formulas, golden numbers and the identities between them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import grpo_oracle as oracle
import pytest
import torch
from methods.cases import random_case
from pydantic import ValidationError
from table_run import (
    Row,
    TableRun,
    assert_alike,
    assert_step,
    build,
    drawn_options,
    golden_rows,
    on_two_ranks,
    random_world,
    step,
    world_from,
    world_of,
)

from harness.api import InputError
from harness.spec.recipe import Recipe
from harness.testing import check_method
from harness_methods.grpo import (
    GRPOOptions,
    harness_register_methods,
    kl_terms,
)
from harness_methods.rloo import harness_register_methods as register_rloo

(GRPO,), (RLOO,) = harness_register_methods(), register_rloo()
REDUCTIONS = (
    "seq_mean", "token_mean", "token_mean_group", "token_mean_micro", "constant", "constant_sum", "seq_sum",
)  # fmt: skip
CHOICES: dict[str, list[Any]] = {
    "temperature": [1.0, 0.7],
    "beta": [0.04, 0.0, 0.5],
    "use_bias_correction_kl": [False, True],
    "scale_rewards": ["group", "batch", "none"],
    "scale_epsilon": [1e-4, 1e-6, 1e-8],
    "scale_ddof": [1, 0],
    "importance_sampling_level": ["token", "sequence"],
    "epsilon": [0.2, 0.05],
    "epsilon_high": [None, 0.28],
    "delta": [None, 1.1, 3.0],
    "micro_batch_size": [1, 2, 3],
    "length_limit": [None, 5],
    "num_iterations": [1, 2],
    "num_minibatches": [1, 2],
    "overlong_cache": [None, 3],
    "drop_equal_groups": [False, True],
    "absent_divisor": ["present", "all"],
    "mask_truncated": [False, True],
}
LONGEST = 6


@pytest.mark.parametrize("seeds", [range(first, first + 40) for first in range(0, 200, 40)], ids=str)
def test_loss_and_gradient_equal_the_oracle(seeds: range) -> None:
    clipped = 0
    for seed in seeds:
        raw = drawn_options(CHOICES, seed) | {"loss_reduction": REDUCTIONS[seed % len(REDUCTIONS)]}
        if raw["num_iterations"] * raw["num_minibatches"] == 1:
            raw["disable_dropout"] = seed % 2 == 0
        # the parts of a micro-batch are those of the objective's here, so that it is cut like the whole
        part = None if raw["loss_reduction"] == "token_mean_micro" else 1 + seed % 3
        world = random_world(seed)
        run = step(GRPO, raw, world, learning_rate=2.0, part=part, max_length=LONGEST)
        _, options = build(GRPO, raw)
        limit = options.length_limit or LONGEST
        advantages = oracle.advantages(world.rows(options.temperature), options, limit)
        names = {"grpo", "kl"} if options.beta else {"grpo"}
        assert_step(run, options, names, advantages, oracle.loss_for(limit))
        clipped += run.logged.get("clipped", [0])[0] > 0
    assert clipped, "no ratio left its range: nothing was seen of clipping"


def test_on_policy_slopes_of_the_kl() -> None:
    """d q / d log p is 1 - e^d, and -d once it is corrected."""
    d = torch.tensor([-1.0, 0.0, 0.7], dtype=torch.float64)
    for corrected, wanted in ((False, 1 - d.exp()), (True, -d)):
        logp = torch.zeros(3, dtype=torch.float64, requires_grad=True)
        o = GRPOOptions(use_bias_correction_kl=corrected)
        (slope,) = torch.autograd.grad(kl_terms(logp, d, (logp - logp.detach()).exp(), o).sum(), logp)
        torch.testing.assert_close(slope, wanted, rtol=1e-12, atol=1e-12)


def test_without_scale_clip_and_kl_it_is_rloo() -> None:
    for seed in range(20):
        world = world_of(random_case(seed, missing=0, absent=0))
        k = len(world.rewards[0])
        one = step(GRPO, {"scale_rewards": "none", "beta": 0, "loss_reduction": "constant"}, world, max_length=LONGEST)
        other = step(RLOO, {"beta": 0}, world)
        factor = k / (k - 1) * LONGEST
        torch.testing.assert_close(factor * one.updates[0].gradient, other.updates[0].gradient, rtol=1e-12, atol=1e-12)


def test_on_policy_sequence_and_token_ratios_have_equal_gradients() -> None:
    for seed in range(20):
        world = random_world(seed)
        one, other = (
            step(GRPO, {"importance_sampling_level": level}, world).updates[0].gradient
            for level in ("token", "sequence")
        )
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_answers_of_one_length_are_averaged_alike() -> None:
    rows = [
        [Row(row.logps[:1], row.old[:1], row.reference[:1], row.reward) for row in group] for group in golden_rows()
    ]
    world = world_from(rows)
    one = step(GRPO, {"loss_reduction": "seq_mean"}, world)
    for name in ("token_mean", "token_mean_group", "token_mean_micro", "seq_sum"):
        assert_alike(one, step(GRPO, {"loss_reduction": name}, world))


def test_one_update_sees_no_clip() -> None:
    for seed in range(10):
        world = random_world(seed)
        assert_alike(step(GRPO, {}, world), step(GRPO, {"epsilon": 1e-6, "delta": 1.0 + 1e-6}, world))


def test_rewards_may_be_shifted_and_scaled() -> None:
    """Scaling does nothing where the deviation divides, but for what is added to it, and scales where nothing does."""
    for seed in range(10):
        world = random_world(seed)
        for raw, scale, factor in (
            ({"scale_rewards": "group"}, 1, 1),
            ({"scale_rewards": "batch"}, 1, 1),
            ({"scale_rewards": "none", "beta": 0}, 4, 4),
            ({"scale_rewards": "group", "beta": 0, "scale_epsilon": 1e-13}, 4, 1),
        ):
            rewards = [[None if r is None else scale * r + 3.25 for r in group] for group in world.rewards]
            assert_alike(step(GRPO, raw, world), step(GRPO, raw, replace(world, rewards=rewards)), factor)


def test_equal_rewards_and_groups_of_one_move_nothing() -> None:
    """0.1 three times: neither what the mean of three rounds to nor a deviation of almost 0 may become a push."""
    rows = golden_rows()
    for j in range(3):
        rows[0][j].reward, rows[1][j].reward = 0.1, 0.7 if j == 1 else None
    for scale in ("group", "batch", "none"):
        run = step(GRPO, {"beta": 0, "scale_rewards": scale, "scale_epsilon": 1e-12}, world_from(rows))
        assert not run.updates[0].gradient.any()


def test_equal_groups_can_be_left_out() -> None:
    """What is left is as if they had never been drawn, their KL and their place in the mean too."""
    rows = golden_rows()
    for row in rows[0]:
        row.reward = 0.1
    for reduction in REDUCTIONS:
        raw = {"loss_reduction": reduction, "drop_equal_groups": True, "overlong_cache": 2}
        run = step(GRPO, raw, world_from(rows))
        rest = step(GRPO, raw, world_from(rows[1:]))
        assert run.updates[0].shares == pytest.approx(rest.updates[0].shares)
        assert not run.updates[0].gradient[0].any()
        torch.testing.assert_close(run.updates[0].gradient[1], rest.updates[0].gradient[0], rtol=1e-12, atol=1e-15)


def test_a_punishment_reaches_groups_of_equal_correctness() -> None:
    rows = golden_rows()
    for group in rows:
        for row in group:
            row.reward = 1.0
    run = step(GRPO, {"beta": 0, "overlong_cache": 3, "length_limit": 4}, world_from(rows))
    # of 2, 4 and 1 tokens the longest loses most
    assert run.updates[0].gradient[1, 1, 0] > 0 > run.updates[0].gradient[1, 2, 0]


def test_nothing_to_learn_from_is_no_error() -> None:
    rows = golden_rows()
    for group in rows:
        for row in group:
            row.reward = None
    for reduction in REDUCTIONS:
        run = step(GRPO, {"loss_reduction": reduction, "num_iterations": 2}, world_from(rows))
        assert run.updates[0].shares == {"grpo": 0.0, "kl": 0.0}
        assert not run.updates[0].gradient.any()


def test_more_parts_than_prompts() -> None:
    assert len(step(GRPO, {"num_minibatches": 5, "num_iterations": 2}, world_from(golden_rows())).updates) == 4


def test_what_is_logged() -> None:
    world = world_from(golden_rows())
    run = step(GRPO, {}, world)
    pairs = [(x, f) for group in golden_rows() for row in group for x, f in zip(row.old, row.reference, strict=True)]
    d = torch.tensor([f - x for x, f in pairs], dtype=torch.float64)
    assert run.logged == {"kl": pytest.approx([float((d.exp() - d - 1).sum()), 13])}
    run = step(GRPO, {"beta": 0, "num_iterations": 2, "epsilon": 0.001}, world, learning_rate=1.0)
    assert run.logged.keys() == {"clipped"}
    # the first pass holds none; in the second every token with an advantage has moved by more than 0.001
    assert run.logged["clipped"] == [11.0, 26.0]


@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("delta", [None, 1.1, 3.0])
def test_clipped_are_the_tokens_whose_gradient_is_gone(level: str, delta: float | None) -> None:
    """Delta lies below the upper bound of 1.2, or above it, where it holds negative advantages alone."""
    raw = {"beta": 0, "num_iterations": 2, "importance_sampling_level": level, "delta": delta}
    gone = tokens = 0.0
    logged = [0.0, 0.0]
    for seed in range(40):
        world = random_world(seed)
        run = step(GRPO, raw, world, learning_rate=12.0)
        first, second = (update.gradient for update in run.updates)
        gone += int(((first != 0) & (second == 0)).sum())
        tokens += 2 * sum(len(row.logps) for group in world.rows() for row in group if oracle.rewarded(row))
        logged = [x + y for x, y in zip(logged, run.logged.get("clipped", [0.0, 0.0]), strict=True)]
    assert gone > 20
    assert logged == [gone, tokens]


@pytest.mark.parametrize("split", [0, 2, 4])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_two_ranks_equal_one(reduction: str, split: int) -> None:
    world = random_world(6, size=6, count=3)
    raw: dict[str, Any] = {"loss_reduction": reduction, "scale_rewards": "batch", "num_iterations": 2}
    raw |= {"micro_batch_size": 2} if reduction == "token_mean_micro" else {"num_minibatches": 3}
    whole = step(GRPO, raw, world, learning_rate=3.0)
    for run in on_two_ranks(GRPO, raw, world, split, learning_rate=3.0):
        assert_alike(whole, run)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_parts_equal_the_whole(reduction: str) -> None:
    world = random_world(6, size=6, count=3)
    raw = {"loss_reduction": reduction, "num_iterations": 3, "importance_sampling_level": "sequence"}
    whole = step(GRPO, raw, world, learning_rate=3.0)
    for part in (1, 2, 4):
        assert_alike(whole, step(GRPO, raw, world, learning_rate=3.0, part=part))


@pytest.mark.parametrize(
    "raw",
    [
        {},
        *(pytest.param(raw, marks=pytest.mark.long) for raw in (
            {"beta": 0, "loss_reduction": "constant", "scale_rewards": "none", "num_iterations": 2, "delta": 2.0},
            {"loss_reduction": "token_mean", "scale_rewards": "batch", "overlong_cache": 8, "drop_equal_groups": True},
            {"loss_reduction": "token_mean_group", "importance_sampling_level": "sequence", "num_minibatches": 2},
        )),
    ],
    ids=str,
)  # fmt: skip
def test_the_contract(raw: dict[str, Any]) -> None:
    check_method(GRPO, {"num_generations": 4, **raw})


def test_a_reference_is_needed_with_a_penalty_alone() -> None:
    assert GRPO.resolved(GRPOOptions()).needs == {"reward", "reference"}
    assert GRPO.resolved(GRPOOptions(beta=0)).needs == {"reward"}


def test_published_defaults() -> None:
    def of(name: str, *options: str) -> tuple[Any, ...]:
        made = GRPO.options(**GRPO.presets[name].options).model_dump()
        return tuple(made[option] for option in options)

    for preset in GRPO.presets.values():
        Recipe(**preset.recipe)
    assert set(GRPO.presets) == {"grpo", "dr_grpo", "dapo", "gspo", "trl"}
    objective = ("loss_reduction", "scale_rewards", "importance_sampling_level", "beta", "num_generations")
    clip = ("epsilon", "epsilon_high", "delta", "num_iterations", "num_minibatches")
    assert of("grpo", *objective) == ("seq_mean", "group", "token", 0.04, 64)
    assert of("grpo", *clip, "use_bias_correction_kl") == (0.2, None, None, 1, 1, False)
    assert GRPO.presets["grpo"].recipe == {"method_learning_rate": 1e-6, "generate_length": 1024}
    assert of("dr_grpo", *objective) == ("constant", "none", "token", 0.0, 8)
    assert GRPO.presets["dr_grpo"].recipe == {"generate_length": 3000}
    assert of("dr_grpo", "length_limit") == (None,)
    assert of("dapo", *objective) == ("token_mean", "group", "token", 0.0, 16)
    assert of("dapo", *clip) == (0.2, 0.28, None, 1, 16)
    assert of("dapo", "overlong_cache", "drop_equal_groups", "mask_truncated") == (4096, True, False)
    assert GRPO.presets["dapo"].recipe == {
        "method_learning_rate": 1e-6, "method_warmup_steps": 20, "batch_size": 512, "generate_length": 20480,
    }  # fmt: skip
    assert of("gspo", *objective[:4]) == ("seq_mean", "group", "sequence", 0.0)
    assert of("gspo", *clip) == (3e-4, 4e-4, None, 1, 4)
    assert of("trl", *objective) == ("token_mean", "group", "token", 0.0, 8)
    assert of("trl", *clip, "use_bias_correction_kl", "scale_epsilon") == (0.2, None, None, 1, 1, True, 1e-4)
    assert of("trl", "absent_divisor", "mask_truncated", "disable_dropout", "temperature") == ("all", False, False, 1.0)
    assert GRPO.presets["trl"].recipe["method_learning_rate"] == 1e-6
    assert GRPO.presets["trl"].recipe["generate_length"] == 512


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"num_generations": 1}, "greater than or equal to 2"),
        ({"num_minibatches": 2, "disable_dropout": False}, "is for one update a batch"),
        ({"scale_epsilon": 0}, "greater than 0"),
        ({"loss_reduction": "dapo"}, "'seq_mean', 'token_mean'"),
        ({"samples": 3}, "Extra inputs"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(raw: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        GRPOOptions(**raw)


def test_a_punishment_of_every_answer_is_refused() -> None:
    method, _ = build(GRPO, {"overlong_cache": 7})
    method.setup(TableRun(world_from(golden_rows()), max_length=7))
    with pytest.raises(InputError, match="overlong_cache is longer than an answer may be") as caught:
        method.setup(TableRun(world_from(golden_rows()), max_length=6))
    assert "at most 6" in str(caught.value)
