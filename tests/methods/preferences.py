"""Random ragged pairs of answers for the methods that learn from preferences, and what an oracle says of them."""

from __future__ import annotations

import copy
import math
import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from methods.cases import token_logps
from methods.fake_run import EOS, VOCABULARY, FakeRun, TinyModel, batch_of, completions

from harness.api import Pairs

if TYPE_CHECKING:
    from torch import Tensor

    from harness.api import Batch


@dataclass
class PairCase:
    """A batch of pairs as lists, with the weights of a policy and of a reference model."""

    prompts: list[list[int]]
    chosen: list[list[int]]
    rejected: list[list[int]]
    seed: int = 0
    reference_seed: int = 1
    width: int = 0
    """Columns of padding at least."""

    @property
    def batch(self) -> Batch:
        batch = batch_of(self.prompts, self.chosen, width=self.width)
        sides = [completions([[answer] for answer in side], width=self.width) for side in (self.chosen, self.rejected)]
        return replace(batch, pairs=Pairs(*sides))

    def run(self, **settings: Any) -> FakeRun:
        """Return a run whose reference model has other weights than its policy, unless the seeds are the same."""
        run = FakeRun(model=settings.pop("model", None) or TinyModel(self.seed), table={}, **settings)
        run.reference = copy.deepcopy(TinyModel(self.reference_seed))
        return run


def random_pairs(seed: int, *, size: int | None = None) -> PairCase:
    """Return pairs of unequal lengths; some answers are an EOS alone, some have no EOS."""
    draw = random.Random(seed)
    size = size or draw.randint(1, 5)

    def words(low: int, high: int) -> list[int]:
        return [draw.randrange(1, VOCABULARY) for _ in range(draw.randint(low, high))]

    def answer() -> list[int]:
        return [*words(0, 6), EOS] if draw.random() < 0.8 else words(1, 6)

    return PairCase(
        prompts=[words(1, 5) for _ in range(size)],
        chosen=[answer() for _ in range(size)],
        rejected=[answer() for _ in range(size)],
        seed=seed,
        reference_seed=seed + 1000,
    )


def pair_loss(h: tuple[float, float], lengths: tuple[int, int], o: Any) -> tuple[float, float, float]:
    """Return a pair's loss and its slopes in the two summed log-ratios, from the papers, in plain Python.

    Rafailov et al. 2023 Eq. 7 with label smoothing; Chowdhury et al. 2024 Eq. 12; Liu et al. 2023; Azar et al. 2023
    Eq. 17.
    """
    chosen, rejected = h
    margin = chosen - rejected
    z, e = o.beta * margin, o.label_smoothing
    right, flipped = math.log1p(math.exp(-z)), math.log1p(math.exp(z))  # -log s(z), -log s(-z)
    falling, rising = 1 / (1 + math.exp(z)), 1 / (1 + math.exp(-z))  # s(-z), s(z)
    if o.loss_type == "sigmoid":
        slope = o.beta * (e * rising - (1 - e) * falling)
        return (1 - e) * right + e * flipped, slope, -slope
    if o.loss_type == "robust":
        slope = o.beta * (-(1 - e) * falling - e * rising) / (1 - 2 * e)
        return ((1 - e) * right - e * flipped) / (1 - 2 * e), slope, -slope
    if o.loss_type == "hinge":
        slope = -o.beta if z < 1 else 0.0
        return max(0.0, 1 - z), slope, -slope
    tokens = lengths if o.loss_type == "ipo" else (1, 1)
    distance = chosen / tokens[0] - rejected / tokens[1] - 1 / (2 * o.beta)
    return distance**2, 2 * distance / tokens[0], -2 * distance / tokens[1]


def expected(case: PairCase, o: Any) -> tuple[float, list[Tensor], dict[str, float]]:
    """Return the loss, its gradient and what is logged, each answer scored by itself, without padding."""
    model, reference = TinyModel(case.seed), TinyModel(case.reference_seed)
    loss, surrogate = 0.0, torch.zeros((), dtype=torch.float64)
    logged = dict.fromkeys(("chosen", "rejected", "logps/chosen", "logps/rejected", "accuracies"), 0.0)
    size = len(case.prompts)
    for prompt, chosen, rejected in zip(case.prompts, case.chosen, case.rejected, strict=True):
        scored = [torch.stack(token_logps(model, prompt, a, dropout=not o.disable_dropout)) for a in (chosen, rejected)]
        against = [torch.stack(token_logps(reference, prompt, a, dropout=False)) for a in (chosen, rejected)]
        sums = [float(values.sum().detach()) for values in scored]
        h = (sums[0] - float(against[0].sum().detach()), sums[1] - float(against[1].sum().detach()))
        value, *slopes = pair_loss(h, (len(chosen), len(rejected)), o)
        loss += value / size
        surrogate = surrogate + sum(s * v.sum() for s, v in zip(slopes, scored, strict=True)) / size
        for name, number in [("chosen", o.beta * h[0]), ("rejected", o.beta * h[1]), ("logps/chosen", sums[0]),
                             ("logps/rejected", sums[1]), ("accuracies", float(h[0] > h[1]))]:  # fmt: skip
            logged[name] += number / size
    rewards = {f"rewards/{name}": logged[name] for name in ("chosen", "rejected", "accuracies")}
    rewards["rewards/margins"] = logged["chosen"] - logged["rejected"]
    rewards |= {name: logged[name] for name in ("logps/chosen", "logps/rejected")}
    return loss, list(torch.autograd.grad(surrogate, list(model.parameters()))), rewards
