"""RLOO against its formulas, golden numbers and the identities that tie it to ESO."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import rloo_oracle as oracle
import torch
from methods.cases import make, random_case
from methods.fake_run import TinyModel
from pydantic import ValidationError
from table_run import (
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
)

from harness.spec.recipe import Recipe
from harness.testing import check_method
from harness_methods.rloo import RLOOOptions, answer_losses, harness_register_methods

(RLOO,) = harness_register_methods()
CHOICES: dict[str, list[Any]] = {
    "temperature": [1.0, 0.7],
    "beta": [0.03, 0.0, 0.5],
    "objective": ["reinforce", "clipped"],
    "epsilon": [0.2, 0.05],
    "epsilon_high": [None, 0.1],
    "num_iterations": [1, 2],
    "num_minibatches": [1, 2],
    "normalize_advantages": [False, True],
    "reward_clip_range": [None, (0.1, 0.4)],
    "absent_divisor": ["present", "all"],
    "mask_truncated": [False, True],
}


@pytest.mark.parametrize("seeds", [range(first, first + 40) for first in range(0, 200, 40)], ids=str)
def test_loss_and_gradient_equal_the_oracle(seeds: range) -> None:
    clipped = 0
    for seed in seeds:
        raw = drawn_options(CHOICES, seed)
        if raw["num_iterations"] * raw["num_minibatches"] == 1:
            raw["disable_dropout"] = seed % 2 == 0
        world = random_world(seed)
        run = step(RLOO, raw, world, learning_rate=3.0, part=1 + seed % 3)
        _, options = build(RLOO, raw)
        advantages = oracle.advantages(world.rows(options.temperature), options)
        assert_step(run, options, {"rloo"}, advantages, oracle.loss)
        clipped += run.logged.get("clipped", [0])[0] > 0
    assert clipped, "no ratio left its range: nothing was seen of clipping"


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        ({"beta": 0}, [0.6, -0.6, 0, 0.25, 0.85, -1.1]),
        ({"beta": 0.05}, [0.565, -0.57125, 0.00625, 0.23, 0.8975, -1.1275]),
        ({"beta": 0, "normalize_advantages": True}, [0.814127, -0.814127, 0, 0.339220, 1.153347, -1.492567]),
    ],
)
def test_golden_advantages(raw: dict[str, Any], wanted: list[float]) -> None:
    world = world_from(golden_rows())
    # one reinforce update at log-probs of which the gradient is -A / 6 in every token
    run = step(RLOO, raw, world)
    assert (run.updates[0].gradient[..., 0] * -6).flatten().tolist() == pytest.approx(wanted, abs=5e-7)


@pytest.mark.parametrize(("absent", "wanted"), [([1], [0.6, -0.6, 0, 0.9, 0, -0.9]), ([1, 2], [0.6, -0.6, 0, 0, 0, 0])])
def test_golden_advantages_beside_absent_rewards(absent: list[int], wanted: list[float]) -> None:
    rows = golden_rows()
    for j in absent:
        rows[1][j].reward = None
    run = step(RLOO, {"beta": 0, "absent_divisor": "all"}, world_from(rows))
    assert (run.updates[0].gradient[..., 0] * -6).flatten().tolist() == pytest.approx(wanted, abs=1e-12)
    fewer = step(RLOO, {"beta": 0}, world_from(rows))
    assert_alike(run, fewer, 6 / (6 - len(absent)))


@pytest.mark.parametrize(
    ("objective", "beta", "wanted"),
    [("clipped", 0.0, -0.008265), ("clipped", 0.05, -0.013934), ("reinforce", 0.0, 0.324167)],
)
def test_golden_losses(objective: str, beta: float, wanted: float) -> None:
    rows = golden_rows()
    options = RLOOOptions(objective=objective, beta=beta)
    advantages = torch.tensor(oracle.advantages(rows, options), dtype=torch.float64)
    logp, old = (torch.tensor([[sum(x) for x in group] for group in which], dtype=torch.float64) for which in (
        [[row.logps for row in group] for group in rows], [[row.old for row in group] for group in rows]
    ))  # fmt: skip
    losses, _ = answer_losses(logp, old, advantages, options)
    assert float(losses.mean()) == pytest.approx(wanted, abs=5e-7)
    assert float(losses.mean()) == pytest.approx(oracle.loss(rows, advantages.tolist(), options)[0], abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_eso_at_temperature_one_is_rloo_times_k_minus_one(seed: int) -> None:
    """Five steps of gradient descent from one model, the shipped ``eso`` beside ``rloo``."""
    k, coef, rate = 2 + seed, 0.3, 0.4
    case = random_case(seed, count=k, missing=0, absent=0)
    eso, eso_options = make("eso", temperatures=[1.0] * k, coef=coef, use_sft_term=False)
    rloo, _ = build(RLOO, {"num_generations": k, "beta": 0})
    mine, theirs = TinyModel(seed), TinyModel(seed)
    for _ in range(5):
        one = case.run("eso", eso_options, model=mine, dropout=False, learning_rate=(k - 1) * coef * rate)
        other = case.run("eso", eso_options, model=theirs, dropout=False, learning_rate=rate)
        rloo.step(one, case.batch)
        eso.step(other, case.batch)
        for a, b in zip(one.grads["rloo"], other.grads["eso"], strict=True):
            torch.testing.assert_close((k - 1) * coef * a, b, rtol=1e-12, atol=1e-12)
    assert any(not torch.equal(a, b) for a, b in zip(mine.parameters(), TinyModel(seed).parameters(), strict=True))
    for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_beside_absent_rewards_a_group_of_eso_weighs_otherwise() -> None:
    """With p of k rewards a prompt's factor is k (p - 1) / p, each RLOO averaged over all answers."""
    for present in (2, 3, 4):
        case = random_case(9, size=1, count=4, missing=0, absent=0)
        rewards = [[reward if j < present else None for j, reward in enumerate(case.rewards[0])]]
        rewards[0][0] = 0.9
        case = replace(case, rewards=rewards)
        eso, eso_options = make("eso", temperatures=[1.0] * 4, coef=1.0, use_sft_term=False)
        rloo, _ = build(RLOO, {"num_generations": 4, "beta": 0, "absent_divisor": "all"})
        one, other = (case.run("eso", eso_options, dropout=False) for _ in range(2))
        rloo.step(one, case.batch)
        eso.step(other, case.batch)
        for a, b in zip(one.grads["rloo"], other.grads["eso"], strict=True):
            torch.testing.assert_close(4 * (present - 1) / present * a, b, rtol=1e-12, atol=1e-12)


def test_rewards_may_be_shifted_and_scaled() -> None:
    for seed in range(10):
        world = random_world(seed)
        plain = step(RLOO, {"beta": 0}, world)
        for scale, shift in ((1, 3.25), (4, 0)):
            rewards = [[None if r is None else scale * r + shift for r in group] for group in world.rewards]
            assert_alike(plain, step(RLOO, {"beta": 0}, replace(world, rewards=rewards)), scale)


def test_one_update_does_not_see_epsilon() -> None:
    for seed in range(10):
        raw = {"objective": "clipped"}
        world = random_world(seed)
        assert_alike(step(RLOO, raw, world), step(RLOO, {**raw, "epsilon": 1e-6}, world))


def test_one_update_of_either_objective_has_one_gradient() -> None:
    for seed in range(10):
        world = random_world(seed)
        one, other = (step(RLOO, {"objective": name}, world) for name in ("reinforce", "clipped"))
        torch.testing.assert_close(one.updates[0].gradient, other.updates[0].gradient, rtol=1e-12, atol=1e-15)


def test_equal_rewards_and_groups_of_one_move_nothing() -> None:
    """0.1 three times: what the mean of three rounds to must not become a push, normalised or not."""
    rows = golden_rows()
    for j in range(3):
        rows[0][j].reward, rows[1][j].reward = 0.1, 0.7 if j == 1 else None
    for normalised in (False, True):
        run = step(RLOO, {"beta": 0, "normalize_advantages": normalised}, world_from(rows))
        assert not run.updates[0].gradient.any()


def test_nothing_to_learn_from_is_no_error() -> None:
    rows = golden_rows()
    for group in rows:
        for row in group:
            row.reward = None
    run = step(RLOO, {"objective": "clipped", "normalize_advantages": True}, world_from(rows))
    assert run.updates[0].shares == {"rloo": 0.0}
    assert not run.updates[0].gradient.any()


def test_more_parts_than_prompts() -> None:
    world = world_from(golden_rows())
    assert len(step(RLOO, {"num_minibatches": 5}, world).updates) == 2


def test_what_is_logged() -> None:
    """Nats a token to the reference, and the share of answers that clipping holds; by hand."""
    world = world_from(golden_rows())
    run = step(RLOO, {"objective": "clipped", "num_iterations": 2, "epsilon": 0.01}, world, learning_rate=1.0)
    tokens = [(x, f) for group in golden_rows() for row in group for x, f in zip(row.old, row.reference, strict=True)]
    assert run.logged["kl"] == pytest.approx([sum(x - f for x, f in tokens), len(tokens)])
    # the first pass holds none; in the second every answer with an advantage has moved by more than 0.01
    assert run.logged["clipped"][1] == 12
    assert 0 < run.logged["clipped"][0] <= 6
    assert step(RLOO, {"beta": 0}, world).logged == {}


@pytest.mark.parametrize("split", [0, 2, 4])
@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"objective": "clipped", "num_iterations": 2, "num_minibatches": 3, "normalize_advantages": True},
        {"absent_divisor": "all", "mask_truncated": True, "reward_clip_range": (0.1, 0.4)},
    ],
    ids=str,
)
def test_two_ranks_equal_one(raw: dict[str, Any], split: int) -> None:
    world = random_world(6, size=6, count=3)
    whole = step(RLOO, raw, world, learning_rate=3.0)
    for run in on_two_ranks(RLOO, raw, world, split, learning_rate=3.0):
        assert_alike(whole, run)


def test_parts_equal_the_whole() -> None:
    world = random_world(6, size=6, count=3)
    raw = {"objective": "clipped", "num_iterations": 3}
    whole = step(RLOO, raw, world, learning_rate=3.0)
    for part in (1, 2, 4):
        assert_alike(whole, step(RLOO, raw, world, learning_rate=3.0, part=part))


@pytest.mark.parametrize(
    "raw",
    [
        {},
        *(pytest.param(raw, marks=pytest.mark.long) for raw in (
            {"beta": 0, "num_generations": 2, "normalize_advantages": True, "mask_truncated": True},
            {"objective": "clipped", "num_iterations": 2, "absent_divisor": "all", "reward_clip_range": (0.2, 0.8)},
        )),
    ],
    ids=str,
)  # fmt: skip
def test_the_contract(raw: dict[str, Any]) -> None:
    check_method(RLOO, raw)


def test_a_reference_is_needed_with_a_penalty_alone() -> None:
    assert RLOO.resolved(RLOOOptions()).needs == {"reward", "reference"}
    assert RLOO.resolved(RLOOOptions(beta=0)).needs == {"reward"}


def test_published_defaults() -> None:
    made = {name: RLOO.options(**preset.options) for name, preset in RLOO.presets.items()}
    for preset in RLOO.presets.values():
        Recipe(**preset.recipe)
    assert set(made) == {"paper", "trl"}
    paper, trl = (made[name].model_dump() for name in ("paper", "trl"))
    assert (paper["objective"], paper["beta"], paper["num_generations"]) == ("reinforce", 0.03, 4)
    assert (paper["num_iterations"], paper["num_minibatches"]) == (1, 2)
    assert RLOO.presets["paper"].recipe["batch_size"] == 512
    wanted = {
        "num_generations": 2, "temperature": 1.0, "beta": 0.05, "objective": "clipped", "epsilon": 0.2,
        "epsilon_high": None, "num_iterations": 1, "num_minibatches": 1, "normalize_advantages": False,
        "reward_clip_range": None, "absent_divisor": "all", "mask_truncated": False, "disable_dropout": False,
    }  # fmt: skip
    assert trl == wanted
    assert RLOO.presets["trl"].recipe["method_learning_rate"] == 1e-6
    assert RLOO.presets["trl"].recipe["generate_length"] == 512


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"num_generations": 1}, "greater than or equal to 2"),
        ({"num_iterations": 2, "disable_dropout": False}, "is for one update a batch"),
        ({"reward_clip_range": [1.0, 0.0]}, r"\[low, high\], got \[1.0, 0.0\]"),
        ({"beta": -0.1}, "greater than or equal to 0"),
        ({"temperature": 0}, "greater than 0"),
        ({"samples": 3}, "Extra inputs"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(raw: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        RLOOOptions(**raw)


def test_the_run_of_a_table_is_given_what_it_was_asked_for() -> None:
    """The stand-in itself: a gradient step of size 1 on a known loss."""
    world = world_from(golden_rows())
    run = TableRun(world, learning_rate=1.0)
    run.update(lambda batch, samples: {"sum": run.logprobs(batch, samples).values.sum()}, batch=world.batch,
               samples=world.samples)  # fmt: skip
    moved = (world.policy - run.table.detach())[world.samples.mask]
    assert moved.tolist() == pytest.approx([1.25] * int(world.samples.lengths.sum()))
