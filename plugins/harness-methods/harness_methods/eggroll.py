"""EGGROLL: an evolution strategy over the weights whose noise on each matrix is of low rank."""

from __future__ import annotations

import math
from itertools import chain, product
from statistics import fmean, pstdev, pvariance
from typing import TYPE_CHECKING, Annotated, Literal, Self, TypeAlias

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from harness.api import Column, MethodRegistration, Options, Preset, Stateless, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.api import Batch, Run

#: The rewards of a member's answers, one a prompt of its group; None where there is none.
Row: TypeAlias = "Sequence[float | None]"


class EGGROLLOptions(Options):
    """Options of ``eggroll``. The step size is the recipe's learning rate."""

    population: Annotated[int, Field(ge=2)] = 32
    """Perturbed models a step, N (members)."""
    rank: PositiveInt = 1
    """Rank r of the noise on a matrix."""
    sigma: PositiveFloat = 1e-3
    """Standard deviation of the noise that is added to each weight."""
    antithetic: bool = False
    """Members come in pairs: noise that one has added, the other has taken off."""
    group_size: NonNegativeInt = 0
    """Consecutive members that answer the same prompts, and are compared with each other. The batch's prompts are dealt
    out to the groups, and a group without a prompt sits the step out; 0 for one group that answers all."""
    score: Literal["paper", "official"] = "paper"
    """paper: rewards minus the mean of their prompt, over the standard deviation of all, averaged over a member's
    prompts. official: the mean reward of a member minus that of its group, over the root of the variance + 1e-5."""
    scale: Literal["paper", "official"] = "paper"
    """The learning rate is multiplied by 1 (paper: alpha), or by sigma times the root of the population (official)."""
    perturb: Literal["all", "matrices"] = "all"
    """Noise on all weights, of full rank where they are no matrix; or on matrices alone, embeddings among them."""
    temperature: NonNegativeFloat = 0.0
    """Temperature of the answers, drawn with the same random numbers for all members; 0 decodes greedily."""

    @model_validator(mode="after")
    def _whole_groups(self) -> Self:
        pair = 2 if self.antithetic else 1
        if self.population % pair or self.group_size % pair:
            message = "antithetic members come in pairs: population and group_size must be even"
            raise ValueError(message)
        if self.group_size == 1 or (self.group_size and self.population % self.group_size):
            message = f"group_size must be 2 or more and divide population, got {self.group_size}, {self.population}"
            raise ValueError(message)
        return self


_SGD = {"optimizer": "sgd", "weight_decay": 0.0, "max_grad_norm": 0.0, "restart_schedule": "constant"}


@hookimpl
def harness_register_methods() -> Iterable[MethodRegistration]:
    """Offer ``eggroll``."""
    return [
        MethodRegistration(
            name="eggroll",
            summary="Evolution strategy over weights with noise of low rank (EGGROLL), no backward pass",
            options=EGGROLLOptions,
            build="harness_methods.eggroll:EGGROLL",
            source="https://arxiv.org/abs/2511.16652",
            needs=frozenset({"reward"}),
            start="after",
            mixes_supervision=False,
            logs=(Column("fitness", "members' reward", digits=3), Column("fitness_sd", "sd of members", digits=4)),
            presets={
                "paper": Preset(recipe=_SGD, summary="Algorithm 1 with the score of section 6.3; sizes are left open"),
                "official": Preset(
                    options={
                        "population": 1024, "rank": 1, "sigma": 1e-3, "antithetic": True, "group_size": 8,
                        "score": "official", "scale": "official", "perturb": "matrices", "temperature": 0.0,
                    },
                    recipe={**_SGD, "method_learning_rate": 1.0, "method_warmup_steps": 0, "batch_size": 128},
                    summary="The released code's script: 128 prompts with eight members each",
                ),
            },
            default_preset="paper",
        )
    ]  # fmt: skip


class EGGROLL(Stateless):
    """Evolution guided general optimisation via low-rank learning (arXiv:2511.16652, Algorithm 1, Eq. 8, section 6.3).

    In formulas, for members i = 1 … N, s_i = +-1 (1 without ``antithetic``), on each matrix M::

        E_i = A_i B_i^T / sqrt(r)                           A_i, B_i standard normal, with r columns
        M  += alpha / N sum_i z_i s_i E_i                   z_i the ``score`` of the answers under M + sigma s_i E_i
        z_i = mean_q (R_qi - mean_j R_qj) / sd(R)           paper: prompts q, the deviation over all q and i
        z_i = (F_i - mean_group F) / sqrt(var(F) + 1e-5)    official: F_i the mean of R_qi, the variance over all i

    alpha is the recipe's learning rate, times sigma sqrt(N) under ``scale: official``. The step is exactly this under
    ``optimizer: sgd`` without ``weight_decay`` and ``max_grad_norm``, as presets set it. As r grows this becomes
    ``parameter-es``; the entries of E have variance 1, are uncorrelated and have kurtosis 3 + 6 / r.

    An absent reward leaves its prompt's mean, and a member without any is left out: N counts the others. Where nothing
    differs within a group, or pairs cancel everywhere, no step is taken.

    Differs from paper and code:

    1. A member is a pass over its prompts with weights that were changed; the paper's speed comes from adding the low
       rank to the activations of many members at once, which changes no result.
    2. In the released script each member answers one prompt. Here a group's prompts are its share of the batch, dealt
       out by their ids: one each in the preset's batch of 128.
    """

    def __init__(self, options: EGGROLLOptions) -> None:
        """Keep the options."""
        self.options = options

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        """Let each member answer its prompts, and take one step; no noise is kept, for it is drawn from its seed.

        Returns:
            ``members``: those with a reward, and of their mean rewards ``fitness``, the mean, and ``fitness_sd``.
        """
        import torch  # not when plugins are listed

        options, generator = self.options, run.generator("directions")
        signs = (1.0, -1.0) if options.antithetic else (1.0,)
        seeds = torch.randint(2**62, (options.population // len(signs),), generator=generator).tolist()
        members = list(product(seeds, signs))
        size = options.group_size or len(members)
        names = sorted(set(run.gather({"ids": batch.ids})["ids"]))
        dealt = {name: place % (len(members) // size) for place, name in enumerate(names)}
        table: list[Row] = []
        for place, (seed, sign) in enumerate(members):
            rows = [b for b, name in enumerate(batch.ids) if dealt[name] == place // size]
            table.append(self._rewards(run, batch[rows], seed, sign) if place // size < len(names) else [])
        fitness = [fmean(known) for row in table if (known := _known(row))]
        if not fitness:
            return {"members": 0.0}
        slopes = dict.fromkeys(seeds, 0.0)  # of minus the fitness: the optimiser descends
        factor = options.sigma * math.sqrt(len(fitness)) if options.scale == "official" else 1.0
        for (seed, sign), score in zip(members, scores(table, size, options.score), strict=True):
            slopes[seed] -= factor * sign * score / len(fitness)
        if any(slopes.values()):
            run.apply(slopes.items(), rank=options.rank, only=options.perturb)
        return {"members": float(len(fitness)), "fitness": fmean(fitness), "fitness_sd": pstdev(fitness)}

    def _rewards(self, run: Run, part: Batch, seed: int, sign: float) -> Row:
        """Return the reward of each answer, over the prompts of all ranks; this one may have none of them."""
        import torch

        options = self.options
        values, present = torch.zeros(0, 1, dtype=torch.float64), torch.zeros(0, 1, dtype=torch.bool)
        if len(part):
            with run.perturbed(seed, sign * options.sigma, rank=options.rank, only=options.perturb):
                drawn = run.sample(part, [options.temperature], noise=0) if options.temperature else run.greedy(part)
            rewards = run.reward(part, drawn)
            values, present = rewards.values, rewards.present
        every = run.gather({"values": values, "present": present})
        pairs = zip(every["values"][:, 0].tolist(), every["present"][:, 0].tolist(), strict=True)
        return [value if there else None for value, there in pairs]


def _known(row: Row) -> list[float]:
    return [value for value in row if value is not None]


def _centred(row: Row) -> list[float | None]:
    """Return values minus their mean, exact zeros where all are equal; None stays."""
    known = _known(row)
    mean = fmean(known) if known and min(known) < max(known) else None
    return [None if value is None else 0.0 if mean is None else value - mean for value in row]


def scores(table: Sequence[Row], size: int, score: Literal["paper", "official"]) -> list[float]:
    """Return z of each member from the rewards of its answers, groups of ``size`` members; 0 for one without any."""
    groups = [table[first : first + size] for first in range(0, len(table), size)]
    if score == "official":
        fitness: list[Row] = [[fmean(known) if (known := _known(row)) else None for row in group] for group in groups]
        deviation = math.sqrt(pvariance(_known(list(chain(*fitness)))) + 1e-5)
        centred = [[value] for group in fitness for value in _centred(group)]
    else:
        deviation = pstdev(chain.from_iterable(map(_known, table)))
        columns = [[_centred(column) for column in zip(*group, strict=True)] for group in groups]
        centred = [[column[n] for column in group] for group in columns for n in range(size)]
    return [fmean(known) / (deviation or 1.0) if (known := _known(row)) else 0.0 for row in centred]
