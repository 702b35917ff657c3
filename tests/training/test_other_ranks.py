"""What one rank makes of what the others say: seen from one process, so that it takes no second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from training.runs import Supervised, farthest, go, plan

from harness.testing.bench import Twins
from harness.training.distributed import ManyRanks, Ranks

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor


def test_the_learning_rate_of_a_step_does_not_depend_on_the_number_of_ranks(tmp_path: Path) -> None:
    alone = go(plan("sft", last=1, of=1), Supervised(), tmp_path / "alone").log
    twins = go(plan("sft", last=1, of=1), Supervised(), tmp_path / "twins", ranks=Twins()).log
    assert [row["learning_rate"] for row in twins] == [row["learning_rate"] for row in alone]
    assert len({row["learning_rate"] for row in alone}) > 1


class Pair(ManyRanks):
    """One of two ranks; the other one has whatever this one has, and a gradient where it has none."""

    world = 2

    def __init__(self) -> None:
        pass

    def sum(self, tensor: Tensor) -> Tensor:
        return 2 * tensor


def test_gradients_are_sums_over_ranks_and_no_means() -> None:
    weights = [
        torch.nn.Parameter(torch.ones(2, 3)),
        torch.nn.Parameter(torch.ones(4)),
        torch.nn.Parameter(torch.ones(1)),
    ]
    weights[0].grad, weights[1].grad = torch.full((2, 3), 0.5), torch.arange(4.0)
    Pair().sum_gradients(weights)
    assert weights[0].grad.tolist() == [[1.0] * 3] * 2
    assert weights[1].grad.tolist() == [0.0, 2.0, 4.0, 6.0]
    assert weights[2].grad is None


class Short(Ranks):
    """A run of which another rank finds no memory for the first step."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def worst(self, flag: int) -> int:
        self.asked.append(flag)
        return 1 if len(self.asked) == 1 else flag


def test_a_rank_that_has_memory_halves_its_parts_with_one_that_has_none(tmp_path: Path) -> None:
    alone = go(plan("sft", last=1, of=1), Supervised(), tmp_path / "alone")
    short = go(plan("sft", last=1, of=1), Supervised(), tmp_path / "short", ranks=Short())
    assert (alone.summary["micro_batches"]["halvings"], short.summary["micro_batches"]["halvings"]) == (0, 1)
    assert short.log[0]["micro_batches"] > alone.log[0]["micro_batches"]
    assert short.log[0]["loss"] == alone.log[0]["loss"]
    assert farthest(short.weights, alone.weights) < 1e-9
