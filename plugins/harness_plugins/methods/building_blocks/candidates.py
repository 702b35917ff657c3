"""Candidates of a prompt: drawing them, which of them and which of their tokens count, their log-probs.

B prompts of a rank (b of them in a part), K candidates, T tokens.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from harness.api import Batch, Completions, Rewards, Run
    from harness_plugins.methods.building_blocks.options import CandidateTermOptions, GroupOptions


def draw(run: Run, batch: Batch, options: GroupOptions) -> Completions:
    """Return a group of candidates for each prompt: (B, K, T), in the order of the temperatures or the beams."""
    if options.sampler == "diverse_beam":
        return run.beam(
            batch,
            beams=options.num_beams,
            groups=options.num_beam_groups,
            diversity_penalty=options.diversity_penalty,
            by=options.candidate_source,
        )
    return run.sample(batch, options.temperatures, top_k=options.top_k, by=options.candidate_source)


def eligible(rewards: Rewards, completions: Completions, options: CandidateTermOptions) -> Rewards:
    """Return the rewards without absent candidates and, where the options say so, without empty ones.

    A candidate left out counts as one without a reward: all else is as if it had never been drawn.
    """
    present = rewards.present & (completions.lengths > 0)
    if options.compat.empty_completion == "drop":
        present = present & (completions.answer_lengths > 0)
    return replace(rewards, present=present, values=torch.where(present, rewards.values, 0.0))


def counted_tokens(completions: Completions, options: CandidateTermOptions) -> Tensor:
    """Return (B, K, T) bool: the tokens whose log-probs enter a candidate's loss."""
    lengths = completions.lengths if options.compat.include_eos_in_logp else completions.answer_lengths
    if options.compat.empty_completion == "zero":
        lengths = lengths.masked_fill(completions.answer_lengths <= 0, 0)
    if options.mask_truncated:
        lengths = lengths.masked_fill(~completions.finished, 0)
    return torch.arange(completions.ids.shape[2], device=lengths.device) < lengths[..., None]


def sequence_logps(values: Tensor, mask: Tensor, *, length_norm: bool) -> Tensor:
    """Return (b, K): the sum of the counted tokens' log-probs, or their mean; 0 for a candidate without any.

    Args:
        values: (b, K, T) log-probs.
        mask: (b, K, T) bool from :func:`counted_tokens`.
        length_norm: divide by the number of counted tokens.
    """
    sums = torch.where(mask, values, torch.zeros_like(values)).sum(-1)
    return sums / mask.sum(-1).clamp(min=1) if length_norm else sums


def group_logprobs(
    run: Run, batch: Batch, candidates: Completions, options: CandidateTermOptions, *, demonstrations: bool
) -> tuple[Tensor | None, Tensor]:
    """Return the summed log-prob of each demonstration and the token log-probs of the candidates.

    One forward for both, unless the options treat candidates unlike demonstrations (no dropout, bfloat16).

    Returns:
        (b,) with gradient, or None without ``demonstrations``; and (b, K, T) with gradient, float32 or wider.
    """
    rounded = options.compat.logprob_dtype == "bfloat16"
    if demonstrations and options.dropout_in_logp and not rounded:
        values = run.logprobs(batch, batch.demonstrations.join(candidates)).values
        return values[:, 0].sum(-1), values[:, 1:, : candidates.ids.shape[2]]
    supervised = run.logprobs(batch, batch.demonstrations).sum()[:, 0] if demonstrations else None
    values = run.logprobs(
        batch, candidates, dropout=options.dropout_in_logp, dtype=torch.bfloat16 if rounded else None
    ).values
    return supervised, values.float() if rounded else values
