"""RRHF: rank candidates by their length-normalised log-prob as the reward ranks them."""

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
from harness_plugins.methods.rrhf.losses import best, pair_weights, rank_loss

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from harness.api import Batch, Completions, Run
    from harness_plugins.methods.rrhf import RRHFOptions


class RRHF(Stateless):
    """Rank responses to align language models with human feedback (Yuan et al. 2023, arXiv:2304.05302).

    In formulas::

        p_j    = sum_t log p(a_j,t | x, a_j,<t) / |a_j|
        L_rank = sum over r_i < r_j of max(0, p_i - p_j)       mean over prompts
        L      = L_ft + coef L_rank

    Differs from the papers:

    1. As the ESO paper's baseline it draws its candidates from the policy at every step; RRHF draws them once from
       the initial model by diverse beam search (``candidate_source: reference``, ``sampler: diverse_beam``).
    2. L_ft is the supervised loss on the demonstration; RRHF's raises the best candidate
       (``ft_target: best_candidate``). It is a mean over tokens, not a sum (``sft_reduction: seq_sum``).
    3. RRHF ranks the data's own responses too: ``rank_demonstration``. Further responses of a preference data set
       are not ranked.
    4. The released code divides by the length of the padded row, so that its scores are not length-normalised, and
       fine-tunes with the same divisor: ``compat.rank_padded_bug`` and ``compat.ft_padded_bug``. Its rows are padded
       to the prompt's longest candidate, which is what is done here, whatever the shape of the batch.
    5. A candidate without a reward, and one without a counted token, is never ranked.
    """

    def __init__(self, options: RRHFOptions) -> None:
        """Keep the options."""
        self.options = options

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        """Take one optimiser step.

        Returns:
            ``pairs``: ranked pairs a prompt. ``violated``: share of them in which the worse candidate has the higher p.
        """
        options = self.options
        samples = draw(run, batch, options)
        ranked = batch.demonstrations.join(samples) if options.rank_demonstration else samples
        rewards = eligible(run.reward(batch, ranked), ranked, options)
        counted = self._counted(ranked)
        lengths = counted.sum(-1)
        present = rewards.present & (lengths > 0)
        pairs = pair_weights(rewards.values, present, options.compat.pair_set, options.pair_reduction)
        # the prompt and its longest candidate: what a row of the released code is padded to
        row = batch.prompts.lengths + torch.where(present, ranked.lengths, 0).amax(1)
        divisor = self._divisor(lengths, row)
        prompts = run.total(len(batch))
        weights = torch.full_like(divisor[:, 0], options.coef) / prompts
        index, ranks = best(rewards.values, present)
        if options.ft_target == "reference":
            targets = batch.demonstrations.lengths[:, 0]
        else:
            targets = torch.where(ranks, ranked.lengths.gather(1, index[:, None])[:, 0], 0)
        if options.compat.ft_padded_bug:
            sft_weights = (targets > 0) / (row * prompts)
        else:
            sft_weights = supervised_weights(targets, options.sft_reduction, options.sft_micro_batch, run.total)
        places = torch.arange(len(batch), device=weights.device)
        violations = Mean(places)

        def loss(
            batch: Batch,
            ranked: Completions,
            counted: Tensor,
            pairs: Tensor,
            divisor: Tensor,
            weights: Tensor,
            index: Tensor,
            sft_weights: Tensor,
            places: Tensor,
        ) -> Mapping[str, Tensor]:
            target, values = self._logps(run, batch, ranked, index)
            scores = sequence_logps(values, counted, length_norm=False) / divisor.to(values.dtype)
            violations.put(places, scores[:, :, None] > scores[:, None, :], pairs > 0)
            share = rank_loss(scores, pairs, weights)
            return {"rrhf": share} if target is None else {"sft": supervised_loss(target, sft_weights), "rrhf": share}

        run.update(
            loss,
            batch=batch,
            ranked=ranked,
            counted=counted,
            pairs=pairs,
            divisor=divisor,
            weights=weights,
            index=index,
            sft_weights=sft_weights,
            places=places,
        )
        return {
            "pairs": float(run.total((pairs > 0).sum()) / prompts),
            "violated": violations.value(run),
        }

    def _counted(self, ranked: Completions) -> Tensor:
        """Return (B, K, T) bool; a demonstration is never "cut at the limit", whatever its last token."""
        counted = counted_tokens(ranked, self.options)
        if self.options.rank_demonstration and self.options.mask_truncated:
            whole = self.options.model_copy(update={"mask_truncated": False})
            counted[:, 0] = counted_tokens(ranked, whole)[:, 0]
        return counted

    def _divisor(self, lengths: Tensor, row: Tensor) -> Tensor:
        """Return (B, K) float64: what the summed log-prob of each candidate is divided by."""
        if not self.options.length_norm:
            return torch.ones(lengths.shape, dtype=torch.float64, device=lengths.device)
        if self.options.compat.rank_padded_bug:
            lengths = row[:, None].expand_as(lengths)
        return lengths.clamp(min=1).double() ** self.options.length_penalty

    def _logps(self, run: Run, batch: Batch, ranked: Completions, index: Tensor) -> tuple[Tensor | None, Tensor]:
        """Return the fine-tuning target's summed log-prob, (b,) or None, and (b, K, T) of the candidates."""
        options = self.options
        reference = options.use_sft_term and options.ft_target == "reference"
        alike = options.dropout_in_logp and options.compat.logprob_dtype == "float32"
        if reference and options.rank_demonstration and alike:
            _, values = group_logprobs(run, batch, ranked, options, demonstrations=False)
            return values[:, 0].sum(-1), values
        target, values = group_logprobs(run, batch, ranked, options, demonstrations=reference)
        if options.use_sft_term and options.ft_target == "best_candidate":
            target = values.sum(-1).gather(1, index[:, None])[:, 0]
        return target, values
