from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch

from harness.spec.schedule import Curve, Position
from harness.training.schedule import LearningRate


def curve(kind: str = "cosine", **settings: object) -> LearningRate:
    values = {"peak": 1e-3, "floor": 1e-5, "warmup_steps": 0, "first": 0, "last": 100, **settings}
    return LearningRate(kind=kind, **values)  # type: ignore[arg-type]  # plain keyword values


def test_cosine_is_that_of_torch() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=100, eta_min=1e-5)
    for step in range(100):
        assert curve().rate(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("kind", ["cosine", "linear"])
def test_ends(kind: str) -> None:
    assert curve(kind).rate(0) == 1e-3
    assert curve(kind).rate(50) == pytest.approx((1e-3 + 1e-5) / 2)
    assert curve(kind).rate(100) == 1e-5
    assert curve(kind).rate(1000) == 1e-5


def test_linear_falls_by_equal_amounts() -> None:
    rates = [curve("linear").rate(step) for step in range(101)]
    assert {round(a - b, 12) for a, b in itertools.pairwise(rates)} == {round((1e-3 - 1e-5) / 100, 12)}


def test_constant_ignores_the_floor() -> None:
    assert [curve("constant").rate(step) for step in (0, 99)] == [1e-3, 1e-3]


def test_warmup_reaches_the_peak_with_its_last_step() -> None:
    warm = curve(warmup_steps=4)
    assert [warm.rate(step) for step in range(5)] == pytest.approx([2.5e-4, 5e-4, 7.5e-4, 1e-3, 1e-3])
    assert warm.rate(4 + 48) == pytest.approx(1e-5 + (1e-3 - 1e-5) / 2)
    assert warm.rate(100) == 1e-5


def test_a_curve_may_begin_anywhere() -> None:
    late = curve(first=500, last=600)
    assert [late.rate(500 + step) for step in range(100)] == [curve().rate(step) for step in range(100)]


def test_a_peak_of_zero_stays_zero_whatever_the_floor() -> None:
    assert {curve(peak=0.0).rate(step) for step in range(100)} == {0.0}


def test_positions() -> None:
    assert Position(epochs=3).step(7) == 21
    assert Position(steps=5).step(7) == 5
    late = Position(behind=Position(epochs=2), epochs=3, steps=10)
    assert (late.step(7), late.step(2)) == (24, 10)  # whichever is reached first
    assert (late.whole_epochs, late.epoch, Position(epochs=3).epoch) == (5, None, 3)
    assert [str(place) for place in (Position(epochs=3), Position(steps=5), late)] == [
        "3", "step 5", "5 (at most 10 steps)",
    ]  # fmt: skip
    made = Curve(kind="linear", peak=1.0, floor=0.0, warmup_steps=1, first=Position(epochs=1), last=Position(steps=20))
    assert LearningRate.of(made, 7) == LearningRate("linear", 1.0, 0.0, 1, 7, 20)


def test_the_share_of_the_last_epoch_of_five() -> None:
    """With one cosine over five epochs the last begins at 9.5 % of the peak."""
    assert curve(floor=0.0).rate(80) / 1e-3 == pytest.approx((1 + math.cos(0.8 * math.pi)) / 2)
    assert curve(floor=0.0).rate(80) / 1e-3 == pytest.approx(0.0955, abs=1e-4)


def test_another_curve_takes_over_from_the_step_of_the_switch() -> None:
    first, switch, last = (Position(epochs=epochs) for epochs in (0, 4, 5))
    own = Curve(kind="linear", peak=3e-4, floor=0.0, warmup_steps=0, first=switch, last=last)
    whole = Curve(kind="cosine", peak=1e-3, floor=0.0, warmup_steps=2, first=first, last=last, switch=switch, then=own)
    made = LearningRate.of(whole, 10)
    assert whole.end == last
    alone = curve(floor=0.0, warmup_steps=2, last=50)
    assert [made.rate(step) for step in range(40)] == [alone.rate(step) for step in range(40)]
    assert [made.rate(step) for step in range(40, 50)] == pytest.approx([3e-4 * (1 - n / 10) for n in range(10)])
    assert made.end == 50
    assert (made.at(39).peak, made.at(40).peak) == (1e-3, 3e-4)


def twelve(**settings: Any) -> LearningRate:
    return curve(**{"kind": "cosine", "peak": 0.01, "floor": 0.0, "last": 12, **settings})


class TestShortfalls:
    def test_a_warmup_longer_than_the_schedule(self) -> None:
        (said,) = twelve(warmup_steps=500).shortfalls()
        assert said == (
            "a warm-up of 500 steps is longer than the 12 steps that it has: "
            "the learning rate gets to 2.4 % of its peak"
        )
        assert max(twelve(warmup_steps=500).rate(step) for step in range(12)) == pytest.approx(0.024 * 0.01)

    def test_a_warmup_that_leaves_nothing(self) -> None:
        assert twelve(warmup_steps=12).shortfalls() == [
            "a warm-up takes all 12 steps that it has: the cosine schedule never begins"
        ]
        assert twelve(kind="constant", warmup_steps=12).shortfalls() == []
        assert twelve(warmup_steps=11).shortfalls() == []

    def test_a_floor_that_is_no_floor(self) -> None:
        assert twelve(floor=0.02).shortfalls() == [
            "the cosine schedule does not fall: min_learning_rate 0.02 is not below its peak 0.01"
        ]
        assert twelve(floor=0.02, peak=0.0).shortfalls() == twelve(kind="constant", floor=0.02).shortfalls() == []

    def test_of_a_curve_that_takes_over(self) -> None:
        own = twelve(first=8, last=12, warmup_steps=6)
        (said,) = twelve(warmup_steps=2, last=8, switch=8, then=own).shortfalls()
        assert said.startswith("a warm-up of 6 steps is longer than the 4 steps that it has")
        (said,) = twelve(warmup_steps=9, last=8, switch=8, then=twelve(first=8)).shortfalls()
        assert said.startswith("a warm-up of 9 steps is longer than the 8 steps that it has")

    def test_of_one_schedule_with_another_peak_behind_the_switch(self) -> None:
        behind = twelve(warmup_steps=9, peak=0.02)
        assert twelve(warmup_steps=9, switch=8, then=behind).shortfalls() == []  # the warm-up goes on over the switch
