"""DRL: self-critical policy gradient mixed with the supervised loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from harness.api import Rewards, Stateless
from harness_plugins.methods.building_blocks.candidates import (
    counted_tokens,
    eligible,
    group_logprobs,
    sequence_logps,
)
from harness_plugins.methods.building_blocks.supervised import supervised_loss, supervised_weights
from harness_plugins.methods.drl.losses import advantages, drl_loss

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from harness.api import Batch, Completions, Run
    from harness_plugins.methods.drl import DRLOptions


class DRL(Stateless):
    """Deep reinforcement learning with a self-critical baseline (Paulus et al. 2018, arXiv:1705.04304).

    In formulas::

        L_rl = (r(g) - r(a)) log p(a | x)          a sampled at temperature 1, g greedy; mean over prompts
        L    = L_sft + coef L_rl                   as the ESO paper mixes its baselines
        L    = (1 - gamma) L_sft + gamma L_rl      Paulus et al., ``mix: gamma``

    ReMax without its KL term, summed over each answer, is the same update.

    Differs from the papers:

    1. Paulus et al. mix with gamma = 0.9984; the default is the ESO paper's form, so that one coefficient means the
       same in all its baselines.
    2. L_sft is the mean over the batch's target tokens (``sft_reduction``); both papers print a sum.
    3. With ``n_samples`` above 1 the prompt's losses are averaged: more samples make the same estimate less noisy.
    4. The closing EOS counts in log p (``compat.include_eos_in_logp``); the released code for ESO leaves it out.
    5. A sample or greedy answer without a reward takes its prompt's term with it, never as a reward of 0.
    """

    def __init__(self, options: DRLOptions) -> None:
        """Keep the options."""
        self.options = options

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        """Take one optimiser step.

        Returns:
            ``advantage``: mean of reward minus baseline over the samples that count.
        """
        options = self.options
        samples, greedy = self._draw(run, batch)
        advantage, counted = self._advantages(run, batch, samples, greedy)
        weights = torch.full_like(advantage[:, 0], options.coef) / run.total(len(batch))
        sft_weights = supervised_weights(
            batch.demonstrations.lengths[:, 0], options.sft_reduction, options.sft_micro_batch, run.total
        )
        if options.mix == "gamma":
            sft_weights = (1 - options.coef) * sft_weights

        def loss(
            batch: Batch, samples: Completions, advantage: Tensor, weights: Tensor, sft_weights: Tensor
        ) -> Mapping[str, Tensor]:
            supervised, values = group_logprobs(run, batch, samples, options, demonstrations=options.use_sft_term)
            mask = counted_tokens(samples, options)
            share = drl_loss(sequence_logps(values, mask, length_norm=options.length_norm), advantage, weights)
            if supervised is None:
                return {"drl": share}
            return {"sft": supervised_loss(supervised, sft_weights), "drl": share}

        run.update(loss, batch=batch, samples=samples, advantage=advantage, weights=weights, sft_weights=sft_weights)
        return {"advantage": float(run.total(advantage.sum()) / run.total(counted).clamp(min=1))}

    def _draw(self, run: Run, batch: Batch) -> tuple[Completions, Completions | None]:
        """Return the samples (B, S) and, for that baseline, the greedy answers (B, 1): decoded together."""
        options = self.options
        temperatures = (options.temperature,) * options.n_samples
        if options.baseline != "greedy":
            return run.sample(batch, temperatures, top_k=options.top_k), None
        answers = run.sample(batch, (*temperatures, 0.0), top_k=options.top_k)
        places = torch.arange(answers.ids.shape[1], device=answers.ids.device).expand(len(batch), -1)
        return answers.pick(places[:, :-1]), answers.pick(places[:, -1:])

    def _advantages(
        self, run: Run, batch: Batch, samples: Completions, greedy: Completions | None
    ) -> tuple[Tensor, Tensor]:
        """Return (B, S) advantages and the number of prompts with one; one call of the reward for all answers."""
        options = self.options
        if greedy is None:
            rewards = eligible(run.reward(batch, samples), samples, options)
            advantage = advantages(rewards.values, rewards.present, options.baseline)
            return advantage, (rewards.counts > 0).sum()
        scored = run.reward(batch, greedy.join(samples))
        rewards = eligible(Rewards(scored.values[:, 1:], scored.present[:, 1:]), samples, options)
        present = scored.present[:, 0]
        advantage = advantages(rewards.values, rewards.present, "greedy", scored.values[:, 0], present)
        return advantage, ((rewards.counts > 0) & present).sum()
