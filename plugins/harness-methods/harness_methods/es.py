"""Evolution strategies over the weights: perturb them, compare the rewards, step along the noise that did well."""

from __future__ import annotations

from itertools import product
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from harness.api import Column, MethodRegistration, Options, Preset, Stateless, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.api import Batch, Run


class ESOptions(Options):
    """Options of ``parameter-es``. The step size is the recipe's learning rate."""

    population: Annotated[int, Field(ge=2)] = 30
    """Perturbed models a step, N (members); each answers every prompt of the batch."""
    sigma: PositiveFloat = 1e-3
    """Standard deviation of the noise that is added to each weight."""
    antithetic: bool = False
    """Members come in pairs: noise that one has added, the other has taken off."""
    shaping: Literal["none", "centred", "centred_ranks", "standardised"] = "standardised"
    """What a member's mean reward F becomes: F; F minus the members' mean; its rank among them, from -1/2 to 1/2; or F
    minus their mean, over their standard deviation."""
    ties: Literal["average", "order"] = "average"
    """Under shaping: centred_ranks, equal members share their mean rank, or are ranked in the order in which they were
    drawn (of a pair the one with the noise added first), as OpenAI's code does."""
    divide_by_sigma: bool = False
    """Divide the estimate by sigma, which makes it one of the gradient; otherwise the learning rate holds 1 / sigma."""
    temperature: NonNegativeFloat = 0.0
    """Temperature of the answers, drawn with the same random numbers for all members; 0 decodes greedily."""

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        if self.antithetic and self.population % 2:
            message = f"antithetic members come in pairs: population must be even, got {self.population}"
            raise ValueError(message)
        return self


_SGD = {"optimizer": "sgd", "weight_decay": 0.0, "max_grad_norm": 0.0, "restart_schedule": "constant"}


@hookimpl
def harness_register_methods() -> Iterable[MethodRegistration]:
    """Offer ``parameter-es``."""
    return [
        MethodRegistration(
            name="parameter-es",
            summary="Evolution strategy over weights: step along the noise whose models are rewarded, no backward pass",
            options=ESOptions,
            build="harness_methods.es:EvolutionStrategy",
            source="https://arxiv.org/abs/2509.24372",
            needs=frozenset({"reward"}),
            start="after",
            mixes_supervision=False,
            logs=(Column("fitness", "members' reward", digits=3), Column("fitness_sd", "sd of members", digits=4)),
            presets={
                "es-at-scale": Preset(
                    options={"population": 30, "sigma": 1e-3, "shaping": "standardised", "temperature": 0.0},
                    recipe={**_SGD, "method_learning_rate": 5e-4, "method_warmup_steps": 0},
                    summary="Evolution strategies at scale (arXiv:2509.24372) and its code",
                ),
                "salimans": Preset(
                    options={"shaping": "none", "divide_by_sigma": True},
                    recipe=_SGD,
                    summary="Algorithm 1 of Salimans et al. 2017 as printed, which leaves its sizes open",
                ),
                "openes": Preset(
                    options={"sigma": 0.02, "antithetic": True, "shaping": "centred_ranks", "ties": "order"},
                    recipe={
                        **_SGD, "optimizer": "adam", "betas": [0.9, 0.999], "epsilon": 1e-8, "weight_decay": 0.005,
                        "method_learning_rate": 0.01, "method_warmup_steps": 0,
                    },
                    summary="OpenAI's code for Salimans et al.; its coupled weight decay is the recipe's under adam",
                ),
            },
            default_preset="es-at-scale",
        )
    ]  # fmt: skip


class EvolutionStrategy(Stateless):
    """Evolution strategies (Salimans et al. 2017, arXiv:1703.03864, Algorithm 1; ES at Scale, arXiv:2509.24372).

    In formulas, for members n = 1 … N with noise e_n ~ N(0, I), s_n = +-1 (1 without ``antithetic``)::

        F_n    = mean reward of the batch's answers under theta + sigma s_n e_n
        theta += alpha / N sum_n u(F_n) s_n e_n          over sigma under ``divide_by_sigma``; u is ``shaping``

    Salimans et al.: u(F) = F, over sigma. OpenAI's code: pairs, centred ranks of all F, not over sigma. ES at Scale:
    u(F) = (F - mean) / (standard deviation + 1e-8), the deviation over N. alpha is the recipe's learning rate, and the
    step is exactly this under ``optimizer: sgd`` without ``weight_decay`` and ``max_grad_norm``, as presets set it.

    A member none of whose answers has a reward is left out and N counts the others. Where all F are equal, or pairs
    cancel everywhere, no step is taken: no optimiser's momentum or decay moves a weight either.

    Differs from papers and code:

    1. Noise is independent from weight to weight, which is the service's business. The code of ES at Scale draws each
       tensor from the same seed, OpenAI's takes overlapping slices of one table.
    2. Ranks of equal members are averaged unless ``ties: order``: with it pairs that are equally good would pull.
    3. OpenAI's code decays all weights, the recipe matrices alone, and torch's Adam has its epsilon elsewhere.
    """

    def __init__(self, options: ESOptions) -> None:
        """Keep the options."""
        self.options = options

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        """Let each member answer, and take one step; no noise is kept, for it is drawn again from its seed.

        Returns:
            ``members``: those with a reward, and of their F ``fitness``, the mean, and ``fitness_sd``, over N.
        """
        import torch  # not when plugins are listed

        options, generator = self.options, run.generator("directions")
        signs = (1.0, -1.0) if options.antithetic else (1.0,)
        seeds = torch.randint(2**62, (options.population // len(signs),), generator=generator).tolist()
        fitness = {member: self._fitness(run, batch, *member) for member in product(seeds, signs)}
        known = {member: value for member, value in fitness.items() if value is not None}
        if not known:
            return {"members": 0.0}
        values = list(known.values())
        scale = len(known) * (options.sigma if options.divide_by_sigma else 1.0)
        slopes = dict.fromkeys(seeds, 0.0)  # of minus the fitness: the optimiser descends
        for (seed, sign), utility in zip(known, utilities(values, options), strict=True):
            slopes[seed] -= sign * utility / scale
        if any(slopes.values()):
            run.apply(slopes.items())
        return {"members": float(len(known)), "fitness": fmean(values), "fitness_sd": pstdev(values)}

    def _fitness(self, run: Run, batch: Batch, seed: int, sign: float) -> float | None:
        """Return the mean reward over all ranks' answers; None where none has one."""
        temperature = self.options.temperature
        with run.perturbed(seed, sign * self.options.sigma):
            answers = run.sample(batch, [temperature], noise=0) if temperature else run.greedy(batch)  # (B, 1, T)
        rewards = run.reward(batch, answers)
        every = run.gather({"values": rewards.values, "present": rewards.present})
        values = every["values"][every["present"]].tolist()
        return fmean(values) if values else None  # exact sums: a tie is one in any order of the rows


def utilities(fitness: Sequence[float], options: ESOptions) -> list[float]:
    """Return u of each member's fitness (at least one); zeros where all are equal."""
    count = len(fitness)
    if min(fitness) == max(fitness):
        return [0.0] * count
    if options.shaping == "none":
        return list(fitness)
    if options.shaping == "centred_ranks":
        order = sorted(range(count), key=fitness.__getitem__)
        ranks: list[float] = [order.index(n) for n in range(count)]
        if options.ties == "average":
            ranks = [(sum(x < value for x in fitness) + sum(x <= value for x in fitness) - 1) / 2 for value in fitness]
        return [rank / (count - 1) - 0.5 for rank in ranks]
    mean, deviation = fmean(fitness), pstdev(fitness) + 1e-8
    return [(value - mean) / (deviation if options.shaping == "standardised" else 1.0) for value in fitness]
