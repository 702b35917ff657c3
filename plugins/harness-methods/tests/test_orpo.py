"""ORPO: golden numbers, an oracle on ragged batches, and odds near their limits."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import pytest
import torch
from methods.fake_run import EOS
from orpo_oracle import oracle
from preference_run import World, assert_step, golden, make, random_world, step

from harness.api import InputError
from harness_methods.orpo import log_odds

CHOICES: dict[str, list[Any]] = {
    "coef": [0.1, 1.0],
    "nll_on": ["answer", "prompt_and_answer"],
    "nll_reduction": ["token_mean", "seq_mean", "seq_sum"],
    "drop_identical": [True, False],
}


@pytest.mark.parametrize("block", range(10))
def test_loss_gradient_and_log_equal_the_oracle(block: int) -> None:
    for seed in range(20 * block, 20 * (block + 1)):
        draw = random.Random(seed)
        world = random_world(seed)
        for group in world.answers:  # of two equal answers rounding alone would decide which is more likely
            if group[0] == group[1] and group[0]:
                group[1] = [*group[1][:-1], 9]
        raw = {name: draw.choice(values) for name, values in CHOICES.items()}
        assert_step("orpo", raw, world, oracle, part=draw.choice([None, 1, 2]))


def test_golden_numbers() -> None:
    world, given = golden([(0, (0, 1)), (1, (1, 2))])
    for reduction, wanted in (("token_mean", 0.679839), ("seq_mean", 0.675077)):
        run, said = step("orpo", {"nll_reduction": reduction}, world, given=given)
        assert run.loss == pytest.approx(wanted, abs=6e-7)
        assert run.shares["orpo"] == pytest.approx(0.1 * (0.116860 + 1.051352) / 2, abs=1e-7)
        assert said["log_odds_ratio"] == pytest.approx((2.087778 - 0.621393) / 2, abs=6e-7)
    means = torch.tensor([-1.75 / 3, -2.0, -0.65, -0.4], dtype=torch.float64)
    odds = log_odds(means)
    torch.testing.assert_close(
        odds[::2] - odds[1::2], torch.tensor([2.087778, -0.621393], dtype=torch.float64), rtol=0, atol=6e-7
    )


def test_two_equal_answers_are_dropped_or_give_the_supervised_gradient_alone() -> None:
    world = World([[1], [2]], [[[2, 3, EOS]] * 2, [[4, EOS], [5, EOS]]], [[0.0] * 2] * 2, [True] * 2)
    alone = replace(world, prompts=world.prompts[1:], answers=world.answers[1:], rewards=[[0.0] * 2], labels=[True])
    assert step("orpo", {}, world)[0].loss == pytest.approx(step("orpo", {}, alone)[0].loss, abs=1e-14)
    same = replace(alone, answers=world.answers[:1])
    run, _ = step("orpo", {"drop_identical": False, "coef": 1.0}, same)
    assert run.shares["orpo"] == pytest.approx(math.log(2), abs=1e-14)
    assert max(float(slope.abs().max()) for slope in run.grads["orpo"]) < 1e-15
    assert max(float(slope.abs().max()) for slope in run.grads["sft"]) > 1e-3
    assert step("orpo", {}, same)[0].loss == 0.0


def test_odds_stay_finite_where_an_answer_is_certain_or_impossible() -> None:
    means = torch.tensor([0.0, -1e-12, -1e-3, -50.0, -1e3], dtype=torch.float64, requires_grad=True)
    odds = log_odds(means)
    (slopes,) = torch.autograd.grad(odds.sum(), [means])
    assert torch.isfinite(odds).all()
    assert torch.isfinite(slopes).all()
    assert float(odds[2].detach()) == pytest.approx(math.log(math.exp(-1e-3) / -math.expm1(-1e-3)), rel=1e-12)


def test_a_batch_without_a_whole_pair_moves_nothing() -> None:
    world = World([[1], [2]], [[[], [3, EOS]], [[4, EOS], []]], [[0.0] * 2] * 2, [True] * 2)
    for nll_on in CHOICES["nll_on"]:
        run, said = step("orpo", {"nll_on": nll_on}, world)
        assert run.loss == 0.0
        assert not any(slope.any() for slope in run.gradient())
        assert said == {}


def test_rows_without_pairs_are_refused() -> None:
    world = random_world(1)
    with pytest.raises(InputError, match="the training rows have no pairs"):
        make("orpo", {})[0].step(world.run(), replace(world.batch, pairs=None))
