"""ReMax against its formulas and golden numbers, and what it shares with RLOO."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import remax_oracle as oracle
import torch
from methods.cases import make, random_case
from pydantic import ValidationError
from table_run import (
    Row,
    TableRun,
    World,
    assert_alike,
    build,
    drawn_options,
    golden_rows,
    on_two_ranks,
    random_world,
    step,
    world_from,
    world_of,
)

from harness.testing import check_method
from harness_methods.remax import ReMaxOptions, harness_register_methods, returns
from harness_methods.rloo import harness_register_methods as register_rloo

(REMAX,), (RLOO,) = harness_register_methods(), register_rloo()
CHOICES: dict[str, list[Any]] = {
    "temperature": [1.0, 0.7],
    "reduction": ["seq_sum", "token_mean"],
    "kl": ["none", "immediate", "cumulative"],
    "kl_coef": [0.05, 0.5],
    "gamma": [1.0, 0.9],
    "clip": [None, 0.2],
    "mask_truncated": [False, True],
}


def go(world: World, raw: dict[str, Any], **settings: Any) -> tuple[TableRun, dict[str, float]]:
    """Return the run after one step and what the step returned."""
    method, options = build(REMAX, raw)
    run = TableRun(world, **settings)
    logged = method.step(run, world.batch)
    assert run.drawn == [(options.temperature, 0.0)]
    return run, logged


def golden(a1: float = 0.7, a5: float = 0.95) -> World:
    """Answers a1 and a5 of the golden rows, with the greedy answers' rewards beside them."""
    rows = golden_rows()
    greedy = [Row([-0.1], [-0.1], [-0.1], reward) for reward in (a1, a5)]
    return world_from([[row.at(row.logps), other] for row, other in zip((rows[0][0], rows[1][1]), greedy, strict=True)])


@pytest.mark.parametrize("seeds", [range(first, first + 50) for first in range(0, 200, 50)], ids=str)
def test_loss_and_gradient_equal_the_oracle(seeds: range) -> None:
    alike = 0
    for seed in seeds:
        raw = drawn_options(CHOICES, seed)
        if raw["kl"] == "cumulative":
            raw["gamma"] = 1.0
        case = random_case(seed, count=2, missing=0.3 if seed % 4 == 0 else 0.1)
        if seed % 3 == 0:
            case.candidates[0][1] = list(case.candidates[0][0])
        world = world_of(case)
        run, logged = go(world, raw, part=1 + seed % 3)
        _, options = build(REMAX, raw)
        same = [sampled == greedy for sampled, greedy in case.candidates]
        rows = world.rows(options.temperature)
        value, slopes = oracle.loss(rows, same, options)
        (update,) = run.updates
        gradient = torch.zeros_like(world.policy)
        for b, tokens in enumerate(slopes):
            gradient[b, 0, : len(tokens)] = torch.tensor(tokens, dtype=torch.float64) / options.temperature
        assert update.shares == {"remax": pytest.approx(value, rel=1e-9, abs=1e-9)}
        torch.testing.assert_close(update.gradient, gradient, rtol=1e-9, atol=1e-9)
        differences = [
            0.0 if one else (group[0].reward or 0.0) - (group[1].reward or 0.0)
            for group, one in zip(rows, same, strict=True)
            if oracle.counts(group)
        ]
        assert logged == {"advantage": pytest.approx(sum(differences) / max(1, len(differences)))}
        alike += any(one and oracle.counts(group) for group, one in zip(rows, same, strict=True))
    assert alike


@pytest.mark.parametrize(
    ("raw", "wanted", "weights"),
    [
        ({}, 0.1975, [[0.3] * 3, [-0.05] * 4]),
        ({"reduction": "token_mean"}, 0.056429, [[0.3] * 3, [-0.05] * 4]),
        (
            {"reduction": "token_mean", "kl": "immediate", "kl_coef": 0.05, "gamma": 0.99, "clip": 5.0},
            0.054465,
            [[0.286090, 0.284030, 0.2995], [-0.058030, -0.033515, -0.049005, -0.0445]],
        ),
        ({"reduction": "token_mean", "kl": "cumulative"}, 0.058982, None),
    ],
)
def test_golden_numbers(raw: dict[str, Any], wanted: float, weights: list[list[float]] | None) -> None:
    """The KL is of the log-probs as the answers were drawn, the loss of those after a while."""
    world, options = golden(), ReMaxOptions(**raw)
    mask = world.samples.mask[:, :1]
    kl = (world.policy - world.reference)[:, :1].where(mask, torch.zeros(())) if options.penalised else None
    found = returns(torch.tensor([[0.3], [-0.05]], dtype=torch.float64), kl, mask, options)[:, 0]
    rows = golden_rows()
    total = 0.0
    for b, row in enumerate((rows[0][0], rows[1][1])):
        own = found[b, : len(row.logps)].tolist()
        if weights is not None:
            assert own == pytest.approx(weights[b], abs=1e-6)
        total -= sum(g * x for g, x in zip(own, row.logps, strict=True))
    assert total / (2 if options.reduction == "seq_sum" else 7) == pytest.approx(wanted, abs=1e-6)


def test_the_step_gives_the_golden_weights() -> None:
    run, logged = go(golden(), {})
    assert run.updates[0].gradient[:, 0, 0].tolist() == pytest.approx([-0.15, 0.025])
    assert logged == {"advantage": pytest.approx(0.125)}


def test_with_the_other_samples_mean_it_is_rloo() -> None:
    """Each sample of RLOO as a prompt of its own, whose greedy answer got the mean of the others' rewards."""
    for seed in range(20):
        case = random_case(seed, missing=0, absent=0)
        world = world_of(case)
        plain = step(RLOO, {"beta": 0}, world).updates[0]
        groups = []
        for b, group in enumerate(world.rows()):
            for j, row in enumerate(group):
                others = [r for i, r in enumerate(case.rewards[b]) if i != j and r is not None]
                groups.append([row, Row([-1.0] * 7, [-1.0] * 7, [-1.0] * 7, sum(others) / len(others))])
        run, _ = go(world_from(groups), {})
        assert run.updates[0].shares["remax"] == pytest.approx(plain.shares["rloo"], rel=1e-12, abs=1e-12)
        width = plain.gradient.shape[2]
        found = run.updates[0].gradient[:, 0, :width].reshape(plain.gradient.shape)
        torch.testing.assert_close(found, plain.gradient, rtol=1e-12, atol=1e-12)


def test_the_papers_preset_is_drl_without_its_supervised_term() -> None:
    for seed in range(6):
        case = random_case(seed, count=1, missing=0, absent=0)
        drl, options = make("drl", coef=1.0, n_samples=1, use_sft_term=False)
        theirs = case.run("drl", options, dropout=False)
        drl.step(theirs, case.batch)
        # drl asks for the greedy answer's reward first
        table = {name: list(reversed(rewards)) for name, rewards in theirs.table.items()}
        mine = replace(theirs, table=table, drawn=[], scored=[])
        build(REMAX, {})[0].step(mine, case.batch)
        assert mine.shares["remax"] == pytest.approx(theirs.shares["drl"], rel=1e-12, abs=1e-12)
        for a, b in zip(mine.grads["remax"], theirs.grads["drl"], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_rewards_may_be_shifted_and_scaled() -> None:
    world = golden()
    plain, _ = go(world, {})
    for scale, shift in ((1, 3.25), (4, 0)):
        rewards = [[None if r is None else scale * r + shift for r in group] for group in world.rewards]
        other, _ = go(World(world.batch, world.samples, rewards, world.policy, world.reference), {})
        assert_alike(plain, other, scale)


@pytest.mark.parametrize("place", [0, 1])
def test_without_either_reward_a_prompt_is_not_there(place: int) -> None:
    for raw in ({}, {"reduction": "token_mean", "kl": "immediate"}):
        world = golden()
        world.rewards[0][place] = None
        run, logged = go(world, raw)
        rest, others = go(world_from([world.rows()[1]]), raw)
        assert logged == pytest.approx(others)
        assert run.updates[0].shares == pytest.approx(rest.updates[0].shares)
        assert not run.updates[0].gradient[0].any()


def test_equal_rewards_and_nothing_to_learn_from() -> None:
    run, _ = go(golden(1.0, 0.9), {})
    assert not run.updates[0].gradient.any()
    world = golden()
    for group in world.rewards:
        group[0] = None
    for raw in ({}, {"reduction": "token_mean", "kl": "cumulative"}):
        run, logged = go(world, raw)
        assert run.updates[0].shares == {"remax": 0.0}
        assert logged == {"advantage": 0.0}


def test_what_is_logged() -> None:
    run, _ = go(golden(), {"kl": "immediate"})
    # log-ratios 0.1, 0.2, -0.05 and 0.2, -0.3, 0, -0.1
    assert run.logged == {"kl": pytest.approx([0.05, 7])}
    assert go(golden(), {})[0].logged == {}


RAWS: list[dict[str, Any]] = [{}, {"reduction": "token_mean", "kl": "immediate", "gamma": 0.9, "mask_truncated": True}]


@pytest.mark.parametrize("raw", RAWS, ids=str)
@pytest.mark.parametrize("split", [0, 2, 4])
def test_two_ranks_equal_one(raw: dict[str, Any], split: int) -> None:
    world = random_world(6, size=6, count=2)
    whole, _ = go(world, raw)
    for run in on_two_ranks(REMAX, raw, world, split):
        assert_alike(whole, run)


@pytest.mark.parametrize("raw", RAWS, ids=str)
def test_parts_equal_the_whole(raw: dict[str, Any]) -> None:
    world = random_world(6, size=6, count=2)
    whole, _ = go(world, raw)
    for part in (1, 2, 4):
        assert_alike(whole, go(world, raw, part=part)[0])


@pytest.mark.parametrize(
    "preset", [{}, pytest.param(REMAX.presets["official"].options, marks=pytest.mark.long)], ids=str
)
def test_the_contract(preset: dict[str, Any]) -> None:
    check_method(REMAX, preset)


def test_a_reference_is_needed_with_a_penalty_alone() -> None:
    assert REMAX.resolved(ReMaxOptions()).needs == {"reward"}
    assert REMAX.resolved(ReMaxOptions(kl="immediate")).needs == {"reward", "reference"}
    assert REMAX.resolved(ReMaxOptions(kl="immediate", kl_coef=0)).needs == {"reward"}


def test_published_defaults() -> None:
    paper, official = (REMAX.options(**REMAX.presets[name].options).model_dump() for name in ("paper", "official"))
    assert REMAX.default_preset == "paper"
    assert paper == REMAX.options().model_dump()
    assert [paper[name] for name in ("reduction", "kl", "gamma", "clip")] == ["seq_sum", "none", 1.0, None]
    wanted = ["token_mean", "immediate", 0.05, 0.99, 5.0, 1.0]
    assert [official[name] for name in ("reduction", "kl", "kl_coef", "gamma", "clip", "temperature")] == wanted


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"kl": "cumulative", "gamma": 0.9}, "kl: cumulative is for gamma 1, got 0.9"),
        ({"gamma": 0}, "greater than 0"),
        ({"clip": 0}, "greater than 0"),
        ({"num_generations": 4}, "Extra inputs"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(raw: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ReMaxOptions(**raw)
