"""Evolution strategy in parameter space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.api import Batch, Run, State
    from harness_es.es import ESOptions


class EvolutionStrategy:
    """Natural evolution strategy over the weights theta (COLING 2025.coling-main.357, Eq. 5 to 7)::

        F(theta)  = mean reward of the batch's answers
        grad      = 1 / (2 n sigma) sum_i s_i (F(theta + s_i sigma eps_i) - mean F) eps_i,   eps_i ~ N(0, I)

    over 2n perturbed models: each eps is used with s = +1 and with s = -1.

    Differs from the paper, which gives the estimator to say that it is too expensive:

    1. Antithetic pairs, which halve the noise to draw and cancel all even terms; the mean cancels within a pair too,
       and matters only where one of the two has no reward at all.
    2. The optimiser of the recipe takes the step, with its learning rate.
    """

    def __init__(self, options: ESOptions) -> None:
        """Keep the options."""
        self.options = options

    def setup(self, run: Run) -> None:
        """Prepare nothing."""

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        """Perturb, answer, compare, step. No noise is stored: ``perturbed`` and ``apply`` draw it again from a seed."""
        sigma, pairs = self.options.sigma, self.options.pairs
        seeds = torch.randint(2**62, (pairs,), generator=run.generator("directions")).tolist()
        fitness = []  # plus and minus by turns
        for seed in seeds:
            for scale in (sigma, -sigma):
                with run.perturbed(seed, scale):
                    fitness.append(self._fitness(run, batch))
        known = [value for value in fitness if value is not None]
        mean = sum(known) / max(1, len(known))
        scores = [0.0 if value is None else value - mean for value in fitness]
        # the optimiser descends, so this is the gradient of minus the fitness
        slopes = [-(plus - minus) / (2 * pairs * sigma) for plus, minus in zip(scores[::2], scores[1::2], strict=True)]
        run.apply(zip(seeds, slopes, strict=True))
        spread = (sum(score**2 for score in scores) / len(scores)) ** 0.5
        return {"fitness": mean, "fitness_sd": spread, "pairs_alike": float(slopes.count(0.0))}

    def _fitness(self, run: Run, batch: Batch) -> float | None:
        """Return the mean reward over the rows of all ranks; None where no answer has one."""
        temperature = self.options.temperature
        answers = run.sample(batch, [temperature]) if temperature else run.greedy(batch)  # (B, 1, T)
        rewards = run.reward(batch, answers)
        count = float(run.total(rewards.counts.sum()))
        return float(run.total(rewards.values.sum())) / count if count else None

    def state_dict(self) -> Mapping[str, State]:
        """Return nothing: a step depends on the weights and the batch alone."""
        return {}

    def load_state_dict(self, state: Mapping[str, State]) -> None:
        """Take back nothing."""
