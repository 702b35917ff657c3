"""ESO: evolution strategy in the space of answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from harness.api import Stateless
from harness_plugins.methods.building_blocks.candidates import (
    counted_tokens,
    draw,
    eligible,
    group_logprobs,
    sequence_logps,
)
from harness_plugins.methods.building_blocks.meter import Mean
from harness_plugins.methods.building_blocks.supervised import supervised_loss, supervised_weights
from harness_plugins.methods.eso.losses import eso_loss, importance_weights, prompt_weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from harness.api import Batch, Completions, Run
    from harness_plugins.methods.eso import ESOOptions


class ESO(Stateless):
    """Evolution strategy over answers (COLING 2025.coling-main.357).

    In formulas::

        u      = mean_j R(x, a_j)                                   the group's mean reward, a_j included
        L_eso  = sum_j (u - R(x, a_j)) log p(a_j | x)               Eq. 10, mean over prompts
        L      = L_sft + coef L_eso                                 Eq. 11, in the last epoch

    for k candidates a_j of each prompt x, one a temperature. It is (k - 1) times REINFORCE with a leave-one-out
    baseline (RLOO), and Dr. GRPO without clipping up to a constant.

    Differs from the paper:

    1. L_sft is the mean over the batch's target tokens, not Eq. 1's sum (``sft_reduction: seq_sum``).
    2. The paper does not say whether log p(a | x) holds the closing EOS. It does here: a policy's probability of an
       answer includes stopping, and without it nothing but the supervised term governs lengths. The released code
       leaves it out (``compat.include_eos_in_logp: false``).
    3. A candidate without a reward leaves its group as if it had never been drawn; a group of fewer than two gives 0.
    4. Under ``length_norm`` a candidate without a counted token gives 0 where the released code gives 0 / 0.
    5. ``compat.official_gate`` and ``compat.token_mean_micro`` average over micro-batches of
       ``compat.micro_batch_size`` consecutive prompts of a rank, whatever the memory at hand makes of the batch.

    Candidates are drawn at several temperatures but their log-probs are those at temperature 1, so the estimate is
    off-policy and biased, as published; ``is_correction`` weights it right.
    """

    def __init__(self, options: ESOOptions) -> None:
        """Keep the options."""
        self.options = options

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        """Take one optimiser step.

        Returns:
            ``gate_passed``: share of prompts whose mean reward exceeds the threshold, with a gate. ``is_weight``: mean
            importance weight of the candidates that count, with a correction.
        """
        options = self.options
        samples = draw(run, batch, options)
        rewards = eligible(run.reward(batch, samples), samples, options)
        means = rewards.mean()[:, 0]
        fitness = rewards.centred()
        if options.k_reduction == "mean":
            fitness = fitness / rewards.counts[:, None].clamp(min=1)
        weights = prompt_weights(
            means,
            threshold=options.reward_threshold,
            micro_batch_size=options.compat.micro_batch_size if options.compat.official_gate else None,
            total=run.total,
        )
        sft_weights = supervised_weights(
            batch.demonstrations.lengths[:, 0], options.sft_reduction, options.sft_micro_batch, run.total
        )
        places = torch.arange(len(batch), device=weights.device)
        ratio_meter = Mean(places)

        def loss(
            batch: Batch,
            samples: Completions,
            fitness: Tensor,
            present: Tensor,
            weights: Tensor,
            sft_weights: Tensor,
            places: Tensor,
        ) -> Mapping[str, Tensor]:
            supervised, values = group_logprobs(run, batch, samples, options, demonstrations=options.use_sft_term)
            mask = counted_tokens(samples, options)
            if options.is_correction != "none":
                ratio = self._ratio(run, batch, samples)
                ratio_meter.put(places, ratio, present)
                idle = (fitness == 0) | (weights[:, None] == 0)  # 0 stays 0 beside an infinite ratio
                fitness = torch.where(idle, 0.0, fitness * ratio)
            logp = sequence_logps(values, mask, length_norm=options.length_norm)
            shares = {"eso": eso_loss(logp, fitness, weights, options.coef)}
            return shares if supervised is None else {"sft": supervised_loss(supervised, sft_weights), **shares}

        run.update(
            loss,
            batch=batch,
            samples=samples,
            fitness=fitness,
            present=rewards.present,
            weights=weights,
            sft_weights=sft_weights,
            places=places,
        )
        report: dict[str, float] = {}
        if options.reward_threshold is not None:
            passed = (means > options.reward_threshold).sum()
            report["gate_passed"] = float(run.total(passed) / run.total(len(batch)))
        if options.is_correction != "none":
            report["is_weight"] = ratio_meter.value(run)
        return report

    def _ratio(self, run: Run, batch: Batch, samples: Completions) -> Tensor:
        """Return (b, K) float64 importance weights; the whole answer with its EOS, without dropout or gradient."""
        options = self.options
        with torch.no_grad():
            target = run.logprobs(batch, samples, dropout=False).values.double().sum(-1)
            behaviour = target.clone()
            for temperature in sorted({t for t in options.temperatures if t != 1}):
                columns = torch.tensor(
                    [j for j, t in enumerate(options.temperatures) if t == temperature], device=target.device
                )
                drawn = samples.pick(columns.expand(len(batch), -1))
                logp = run.logprobs(batch, drawn, temperature=temperature, dropout=False).values.double()
                behaviour[:, columns] = logp.sum(-1)
        cap = options.is_cap if options.is_correction == "truncated" else None
        return importance_weights(target, behaviour, cap=cap)
