"""SimPO and CPO: golden numbers, an oracle on ragged batches, and where they are each other or DPO."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from methods.fake_run import EOS
from preference_run import World, assert_alike, assert_step, golden, make, random_world, step
from pydantic import ValidationError
from simpo_cpo_oracle import cpo, simpo

from harness.api import InputError, LogProbs
from harness_plugins.methods.dpo import DPOOptions
from harness_plugins.methods.dpo.method import DPO

if TYPE_CHECKING:
    from harness.api import Batch, Completions

SMOOTHING = [0.0, 0.1, 0.4]
CHOICES: dict[str, dict[str, list[Any]]] = {
    "simpo": {
        "beta": [0.5, 2.0], "gamma": [0.0, 0.5], "loss_type": ["sigmoid", "hinge"], "label_smoothing": SMOOTHING,
        "sft_weight": [0.0, 0.1], "disable_dropout": [True, False],
    },
    "cpo": {
        "beta": [0.1, 0.7], "alpha": [1.0, 0.0, 0.3], "loss_type": ["sigmoid", "hinge", "ipo", "simpo"],
        "simpo_gamma": [0.5, 0.0], "label_smoothing": SMOOTHING, "alphapo": [0.0, 0.2, -0.3],
        "nll_reduction": ["token_mean", "seq_sum"], "disable_dropout": [True, False],
    },
}  # fmt: skip


@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize("block", range(10))
def test_loss_gradient_and_log_equal_the_oracle(name: str, block: int) -> None:
    for seed in range(20 * block, 20 * (block + 1)):
        draw = random.Random(seed)
        world = random_world(seed)
        for group in world.answers:  # of two equal answers rounding alone would decide which is more likely
            if group[0] == group[1] and group[0]:
                group[1] = [*group[1][:-1], 9]
        raw = {option: draw.choice(values) for option, values in CHOICES[name].items()}
        if raw["loss_type"] not in {"sigmoid", "simpo"}:
            raw["label_smoothing"] = 0.0
        assert_step(name, raw, world, {"simpo": simpo, "cpo": cpo}[name], part=draw.choice([None, 1, 2]))


@pytest.mark.parametrize(
    ("name", "raw", "wanted"),
    [
        ("simpo", {}, [0.092554, 1.313262]),
        ("simpo", {"label_smoothing": 0.1}, [0.325887, 1.213262]),
        ("cpo", {"alpha": 0.0}, [0.680725, 0.809185]),
        ("cpo", {"alpha": 0.0, "loss_type": "hinge"}, [0.975, 1.22]),
        ("cpo", {"alpha": 0.0, "loss_type": "ipo"}, [12.840278, 27.5625]),
        ("cpo", {"alpha": 0.0, "loss_type": "simpo", "beta": 2.0}, [0.092554, 1.313262]),
    ],
)
def test_golden_numbers_of_each_pair(name: str, raw: dict[str, Any], wanted: list[float]) -> None:
    for row, value in zip([(0, (0, 1)), (1, (1, 2))], wanted, strict=True):
        world, given = golden([row])
        assert step(name, raw, world, given=given)[0].loss == pytest.approx(value, abs=6e-7)


@pytest.mark.parametrize(
    ("name", "raw", "wanted"),
    [
        ("simpo", {"sft_weight": 0.1}, 0.765051),
        ("cpo", {}, 1.366384),
        ("cpo", {"nll_reduction": "seq_sum"}, 2.919955),
    ],
)
def test_golden_numbers_with_a_supervised_term(name: str, raw: dict[str, Any], wanted: float) -> None:
    world, given = golden([(0, (0, 1)), (1, (1, 2))])
    assert step(name, raw, world, given=given)[0].loss == pytest.approx(wanted, abs=6e-7)


@pytest.mark.parametrize("raw", [{"beta": 2.5, "gamma": 1.4}, {"label_smoothing": 0.2}, {"gamma": 0.0}])
def test_simpo_is_a_cpo(raw: dict[str, Any]) -> None:
    world = random_world(3, size=4)
    there = {"beta": 2.0, **raw, "loss_type": "simpo", "alpha": 0.0, "simpo_gamma": raw.get("gamma", 0.5)}
    there.pop("gamma", None)
    assert_alike(step("simpo", raw, world)[0], step("cpo", there, world)[0])


class Indifferent:
    """Makes a run's reference model find all answers of a length equally likely."""

    def __init__(self, run: Any) -> None:
        self.run = run

    def __getattr__(self, name: str) -> Any:
        return getattr(self.run, name)

    def reference_logprobs(self, batch: Batch, completions: Completions) -> LogProbs:
        return LogProbs(torch.where(completions.mask, -1.5, 0.0).double(), completions.mask)


def test_for_answers_of_one_token_simpo_without_margin_is_cpo_is_dpo_against_an_indifferent_reference() -> None:
    world = replace(random_world(4, size=3), answers=[[[4], [EOS]], [[5], [6]], [[EOS], [2]]])
    run, _ = step("simpo", {"beta": 0.3, "gamma": 0.0}, world)
    assert_alike(run, step("cpo", {"beta": 0.3, "alpha": 0.0}, world)[0])
    other = world.run()
    indifferent: Any = Indifferent(other)  # it passes on what it is asked
    DPO(DPOOptions(beta=0.3)).step(indifferent, world.batch)
    assert_alike(run, other)


def test_cpo_is_dpo_where_the_reference_is_indifferent() -> None:
    world = replace(random_world(4, size=2), answers=[[[4, 2, EOS], [3, 3, 3]], [[5, EOS], [6, 1]]])
    for loss_type in ("sigmoid", "hinge"):
        run, _ = step("cpo", {"beta": 0.3, "alpha": 0.0, "loss_type": loss_type}, world)
        other = world.run()
        indifferent: Any = Indifferent(other)  # it passes on what it is asked
        DPO(DPOOptions(beta=0.3, loss_type=loss_type)).step(indifferent, world.batch)
        assert_alike(run, other)


@pytest.mark.parametrize(
    ("name", "raw", "wanted"),
    [
        ("simpo", {}, math.log1p(math.exp(0.5))),
        ("cpo", {}, math.log(2)),
        ("cpo", {"loss_type": "simpo"}, math.log1p(math.exp(0.5))),
    ],
)
def test_two_equal_answers_have_no_preference_gradient(name: str, raw: dict[str, Any], wanted: float) -> None:
    world = World([[1]], [[[2, 3, EOS]] * 2], [[0.0] * 2], [True])
    run, _ = step(name, raw, world)
    assert run.shares[name] == pytest.approx(wanted, abs=1e-14)
    assert max(float(slope.abs().max()) for slope in run.grads[name]) < 1e-14


@pytest.mark.parametrize("name", CHOICES)
def test_a_batch_without_a_whole_pair_moves_nothing(name: str) -> None:
    world = World([[1], [2]], [[[], [3, EOS]], [[4, EOS], []]], [[0.0] * 2] * 2, [True] * 2)
    run, said = step(name, {}, world)
    assert run.loss == 0.0
    assert not any(slope.any() for slope in run.gradient())
    assert said == {}
    with pytest.raises(InputError, match="the training rows have no pairs"):
        make(name, {})[0].step(world.run(), replace(world.batch, pairs=None))


@pytest.mark.parametrize(("name", "loss_type"), [("simpo", "hinge"), ("cpo", "hinge"), ("cpo", "ipo")])
def test_smoothing_belongs_to_a_sigmoid(name: str, loss_type: str) -> None:
    with pytest.raises(ValidationError, match="label_smoothing is for loss_type sigmoid"):
        make(name, {"loss_type": loss_type, "label_smoothing": 0.1})
