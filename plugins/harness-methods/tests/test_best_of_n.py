"""Best-of-n distillation: golden numbers, an oracle on ragged batches, and what it is identical to."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from best_of_n_oracle import kept, oracle
from methods.fake_run import EOS, completions
from preference_run import World, assert_alike, assert_step, golden, make, random_world, step

from harness_methods.best_of_n import best

CHOICES: dict[str, list[Any]] = {
    "selection": ["best_per_prompt", "top_fraction_global", "above_mean"],
    "top_fraction": [0.5, 0.2, 0.29, 1.0],
    "ties": ["first", "all", "skip"],
    "reduction": ["token_mean", "seq_mean", "seq_sum"],
    "train_eos": [True, False],
    "train_on_prompt": [False, True],
    "mask_truncated": [False, True],
}


@pytest.mark.parametrize("block", range(10))
def test_loss_gradient_and_log_equal_the_oracle(block: int) -> None:
    for seed in range(20 * block, 20 * (block + 1)):
        draw = random.Random(seed)
        world = random_world(seed, count=draw.randint(1, 4))
        raw = {name: draw.choice(values) for name, values in CHOICES.items()}
        raw["n_samples"] = len(world.answers[0])
        assert_step("best-of-n", raw, world, oracle, part=draw.choice([None, 1, 2]))


@pytest.mark.parametrize(
    ("reduction", "wanted"), [("token_mean", 0.621429), ("seq_sum", 2.175), ("seq_mean", 0.616667)]
)
def test_golden_numbers(reduction: str, wanted: float) -> None:
    world, given = golden([(0, (0, 1, 2)), (1, (0, 1, 2))], [[1.0, 0.2, 0.6], [0.5, 0.9, -0.4]])
    run, said = step("best-of-n", {"n_samples": 3, "reduction": reduction}, world, given=given)
    assert run.loss == pytest.approx(wanted, abs=5e-7)
    assert said == {"kept": pytest.approx(1 / 3), "kept_reward": pytest.approx(0.95)}


def test_one_answer_a_prompt_is_supervised_training_on_it() -> None:
    """Whatever its reward, as long as there is one."""
    world = random_world(3, size=4, count=1)
    world.rewards = [[-5.0], [0.0], [3.0], [7.0]]
    world.answers = [[[4, 2, EOS]], [[EOS]], [[3, 3]], [[5, EOS]]]
    run, _ = step("best-of-n", {"n_samples": 1}, world)
    taught = replace(world.batch, demonstrations=completions(world.answers))
    other = world.run()
    tokens = taught.demonstrations.lengths.sum()
    other.update(lambda batch: {"sft": -other.logprobs(batch, batch.demonstrations).sum().sum() / tokens}, batch=taught)
    assert_alike(run, other)


def test_a_batch_without_any_reward_moves_nothing() -> None:
    world = random_world(4, size=3, count=2)
    world.rewards = [[None, None]] * 3
    for selection in CHOICES["selection"]:
        run, said = step("best-of-n", {"n_samples": 2, "selection": selection}, world)
        assert run.loss == 0.0
        assert not any(slope.any() for slope in run.gradient())
        assert said == {"kept": 0.0}


def test_equal_rewards_train_the_first_answer_unless_told_otherwise() -> None:
    world = World([[1]], [[[2, EOS], [3, EOS], [4, EOS]]], [[0.5, 0.5, 0.5]], [True])

    def places(**raw: Any) -> list[tuple[int, int]]:
        return kept(world, make("best-of-n", {"n_samples": 3, **raw})[1])

    assert places() == [(0, 0)]
    assert places(ties="all") == [(0, 0), (0, 1), (0, 2)]
    assert places(ties="skip") == places(selection="above_mean") == []
    for raw in ({}, {"ties": "all"}, {"ties": "skip"}, {"selection": "above_mean"}):
        assert step("best-of-n", {"n_samples": 3, **raw}, world)[1]["kept"] == len(places(**raw)) / 3


def test_a_mean_that_is_only_rounded_lets_no_answer_pass() -> None:
    """0.1, 0.2 and 0.3 have a mean that floating point puts above or below 0.2."""
    world = World([[1]], [[[2, EOS], [3, EOS], [4, EOS]]], [[0.1, 0.3, 0.2]], [True])
    assert step("best-of-n", {"n_samples": 3, "selection": "above_mean"}, world)[1]["kept_reward"] == 0.3


def test_a_cut_winner_leaves_the_ranking_only_where_it_is_told_to() -> None:
    world = World([[1]], [[[2, 5, 5, 5], [3, EOS]]], [[1.0, 0.0]], [True])
    assert step("best-of-n", {"n_samples": 2}, world)[1]["kept_reward"] == 1.0
    assert step("best-of-n", {"n_samples": 2, "mask_truncated": True}, world)[1]["kept_reward"] == 0.0


def test_best_of_a_share_that_floating_point_rounds_down() -> None:
    answers = [(float(n), f"row-{n:03}", 0) for n in range(100)]
    assert best(answers, 29, "first") == {(f"row-{n:03}", 0) for n in range(71, 100)}
    world = World([[1]] * 100, [[[2, EOS]]] * 100, [[float(n)] for n in range(100)], [True] * 100)
    _, said = step("best-of-n", {"n_samples": 1, "selection": "top_fraction_global", "top_fraction": 0.29}, world)
    assert said["kept"] == 0.29


def test_only_what_is_kept_is_scored() -> None:
    run, _ = step("best-of-n", {"n_samples": 4}, random_world(8, size=3, count=4))
    assert {scored.ids.shape[1] for scored in run.scored} == {1}
