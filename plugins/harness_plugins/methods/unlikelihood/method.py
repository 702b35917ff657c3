"""Unlikelihood: make each prompt's worst candidate less likely."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from harness.api import Completions, Stateless
from harness_plugins.methods.building_blocks.candidates import counted_tokens, draw, eligible, group_logprobs
from harness_plugins.methods.building_blocks.meter import Mean
from harness_plugins.methods.building_blocks.supervised import supervised_loss, supervised_weights
from harness_plugins.methods.unlikelihood.losses import unlikelihood_loss, worst_weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from harness.api import Batch, Run
    from harness_plugins.methods.unlikelihood import UnlikelihoodOptions


class Unlikelihood(Stateless):
    """Unlikelihood training as the ESO paper compares with (section 2.2; Welleck et al. 2020, arXiv:1908.04319).

    In formulas::

        a'   = the candidate of x with the lowest reward
        L_ul = - sum_t log(1 - p(a'_t | x, a'_<t))         mean over prompts
        L    = L_sft + coef L_ul

    Differs from the papers:

    1. Welleck et al. choose negatives among earlier tokens of the context or repeated n-grams of a greedy
       continuation; the ESO paper applies the idea to a bad answer. It gives no formula: "decreasing its
       log-probability", read literally, is ``loss: logp_down``, without a lower bound. The default is the loss that
       has the name, whose push fades as a token becomes improbable.
    2. L_sft is the mean over the batch's target tokens (``sft_reduction``).
    3. Candidates that tie for the lowest reward share the weight, and a group of equal rewards is left alone, so
       that the order of the temperatures has no say. The authors' helper takes the first, the coldest
       (``compat.ties: first``).
    4. The closing EOS counts among the tokens (``compat.include_eos_in_logp``).
    5. A candidate without a reward leaves its group as if it had never been drawn; a group of fewer than two gives 0.
    """

    def __init__(self, options: UnlikelihoodOptions) -> None:
        """Keep the options."""
        self.options = options

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        """Take one optimiser step.

        Returns:
            ``worst_logp``: mean log-prob a token of the candidates that are pushed down, before the step.
        """
        options = self.options
        samples = draw(run, batch, options)
        rewards = eligible(run.reward(batch, samples), samples, options)
        worst, weights = _pushed(samples, worst_weights(rewards.values, rewards.present, options.compat.ties))
        weights = options.coef * weights / run.total(len(batch))
        sft_weights = supervised_weights(
            batch.demonstrations.lengths[:, 0], options.sft_reduction, options.sft_micro_batch, run.total
        )
        places = torch.arange(len(batch), device=weights.device)
        worst_meter = Mean(places)

        def loss(
            batch: Batch, worst: Completions, weights: Tensor, sft_weights: Tensor, places: Tensor
        ) -> Mapping[str, Tensor]:
            supervised, values = group_logprobs(run, batch, worst, options, demonstrations=options.use_sft_term)
            mask = counted_tokens(worst, options)
            worst_meter.put(places, values, mask)
            share = unlikelihood_loss(
                values,
                mask,
                weights,
                loss=options.loss,
                length_norm=options.length_norm,
                min_one_minus_p=options.min_one_minus_p,
                min_logp_per_token=options.min_logp_per_token,
            )
            if supervised is None:
                return {"unlikelihood": share}
            return {"sft": supervised_loss(supervised, sft_weights), "unlikelihood": share}

        run.update(loss, batch=batch, worst=worst, weights=weights, sft_weights=sft_weights, places=places)
        return {"worst_logp": worst_meter.value(run)}


def _pushed(samples: Completions, weights: Tensor) -> tuple[Completions, Tensor]:
    """Return the candidates with a weight first, (B, N, T) and (B, N); those without one become absent."""
    width = max(int((weights > 0).sum(1).max()), 1) if len(weights) else 1
    order = (weights > 0).to(torch.int64).argsort(dim=1, descending=True, stable=True)[:, :width]
    kept = weights.gather(1, order)
    picked = samples.pick(order)
    return Completions(picked.ids, picked.lengths.masked_fill(kept == 0, 0), picked.finished & (kept > 0)), kept
