"""Online DPO: golden numbers, an oracle on ragged batches, and DPO on its own pairs."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from methods.fake_run import EOS, completions
from online_dpo_oracle import oracle, pairs
from preference_run import World, assert_alike, assert_step, golden, make, random_world, step

from harness.api import InputError, Pairs
from harness_methods.online_dpo import preferences
from harness_plugins.methods.dpo import DPOOptions
from harness_plugins.methods.dpo.method import DPO

CHOICES: dict[str, list[Any]] = {
    "beta": [0.1, 0.5, (0.2, 0.7)],
    "loss_type": ["sigmoid", "ipo"],
    "pairing": ["first_two", "best_worst", "all"],
    "ties": ["skip", "first"],
    "missing_eos_penalty": [None, 1.0],
    "disable_dropout": [True, False],
}


@pytest.mark.parametrize("block", range(10))
def test_loss_gradient_and_log_equal_the_oracle(block: int) -> None:
    for seed in range(20 * block, 20 * (block + 1)):
        draw = random.Random(seed)
        world = random_world(seed)
        raw = {name: draw.choice(values) for name, values in CHOICES.items()}
        raw["n_samples"] = len(world.answers[0])
        assert_step("online-dpo", raw, world, oracle, part=draw.choice([None, 1, 2]))


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [({}, 0.692124), ({"loss_type": "ipo"}, 24.93125), ({"missing_eos_penalty": 1.0}, 0.672124)],
)
def test_golden_numbers(raw: dict[str, Any], wanted: float) -> None:
    """Pairs a1 > a2 and a5 > a4; with a5 cut, a penalty of 1 turns the second one round."""
    world, given = golden([(0, (0, 1)), (1, (1, 0))], [[1.0, 0.2], [0.9, 0.5]])
    # an answer of one token is never the EOS here, so those of one token would be cut as well
    cut = {(0, 1): False, (1, 0): "missing_eos_penalty" in raw}
    ended = world.run().samples
    assert ended is not None
    finished = ended.finished.clone()
    for (b, j), is_cut in cut.items():
        finished[b, j] = not is_cut
    method, _ = make("online-dpo", raw)
    run = world.run(given=given)
    run.samples = replace(ended, finished=finished)
    method.step(run, world.batch)
    assert run.loss == pytest.approx(wanted, abs=6e-7)


def test_it_is_dpo_on_its_pairs() -> None:
    for seed, pairing in ((2, "first_two"), (11, "best_worst"), (13, "all")):
        world = random_world(seed, size=4, count=3)
        raw = {"n_samples": 3, "pairing": pairing, "beta": 0.3}
        run, _ = step("online-dpo", raw, world)
        chosen = pairs(world, make("online-dpo", raw)[1])
        assert chosen
        sides = [completions([[world.answers[row[0]][row[side]]] for row in chosen]) for side in (1, 2)]
        batch = replace(world.batch[[b for b, _, _ in chosen]], pairs=Pairs(*sides))
        other = world.run()
        DPO(DPOOptions(beta=0.3)).step(other, batch)
        assert_alike(run, other)


def test_at_the_reference_every_pair_loses_log_2() -> None:
    world = replace(random_world(5, size=4, count=2), reference_seed=5)
    run, said = step("online-dpo", {}, world)
    assert run.loss == pytest.approx(math.log(2), abs=1e-14)
    assert said["rewards/accuracies"] == said["rewards/margins"] == 0.0


def test_two_equal_answers_lose_log_2_without_gradient() -> None:
    world = World([[1]], [[[2, 3, EOS]] * 2], [[0.4, 0.4]], [True])
    run, said = step("online-dpo", {"ties": "first"}, world)
    assert run.loss == pytest.approx(math.log(2), abs=1e-14)
    assert max(float(slope.abs().max()) for slope in run.gradient()) < 1e-15
    assert said["pairs"] == 1.0
    run, said = step("online-dpo", {}, world)
    assert run.loss == 0.0
    assert said == {"pairs": 0.0}


def test_pairs_of_a_prompt() -> None:
    values, present = [0.5, 0.9, 0.5, 0.1, 0.9], [True, True, True, False, True]
    assert preferences(values, present, "first_two", "skip") == [(1, 0)]
    assert preferences(values, present, "best_worst", "skip") == [(1, 2)]
    assert preferences(values, present, "all", "skip") == [(1, 0), (4, 0), (1, 2), (4, 2)]
    assert len(preferences(values, present, "all", "first")) == 6
    for pairing in ("first_two", "best_worst", "all"):
        assert preferences([1.0, 2.0], [True, False], pairing, "first") == []
        assert preferences([1.0, 1.0], [True, True], pairing, "first") == [(0, 1)]
        assert preferences([1.0, 1.0], [True, True], pairing, "skip") == []


def test_beta_counts_the_epochs_of_the_method() -> None:
    world = random_world(2, size=3, count=2)
    method, _ = make("online-dpo", {"beta": [0.1, 0.4]})
    alone = {beta: step("online-dpo", {"beta": beta}, world)[0].loss for beta in (0.1, 0.4)}
    assert alone[0.1] != alone[0.4]
    run = world.run(progress=SimpleNamespace(epoch=3))
    method.setup(run)
    losses = []
    for epoch in (3, 4, 5):
        run.progress.epoch = epoch
        method.step(run, world.batch)
        losses.append(run.loss)
    assert losses == [alone[0.1], alone[0.4], alone[0.4]]
    again, _ = make("online-dpo", {"beta": [0.1, 0.4]})
    again.setup(run)  # resumed in its second epoch
    again.load_state_dict(method.state_dict())
    assert again.first_epoch == 3
    with pytest.raises(InputError, match="another method's"):
        again.load_state_dict({"other": 1})
