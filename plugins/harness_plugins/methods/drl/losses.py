"""The losses of DRL as functions of tensors. B prompts of a rank, b of them in a part, S sampled answers a prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from torch import Tensor


def advantages(
    rewards: Tensor,
    present: Tensor,
    baseline: Literal["greedy", "none", "mean"],
    greedy: Tensor | None = None,
    greedy_present: Tensor | None = None,
) -> Tensor:
    """Return r(sample) - baseline, divided by the number of the prompt's samples that count.

    A sample without a reward counts nowhere, and neither does a prompt whose baseline is missing: the greedy answer's
    reward, or a second sample for the mean.

    Args:
        rewards: (B, S) float64 reward of each sample.
        present: (B, S) bool.
        baseline: ``greedy``, ``none`` (0) or ``mean`` (of the prompt's samples, the sample itself included).
        greedy: (B,) float64 reward of the greedy answer, for ``greedy``.
        greedy_present: (B,) bool.

    Returns:
        (B, S) float64; 0 for a sample that does not count.
    """
    counts = present.sum(1, keepdim=True)
    kept = torch.where(present, rewards, 0.0)
    if baseline == "greedy":
        if greedy is None or greedy_present is None:
            message = "the greedy baseline needs the greedy answers' rewards"
            raise ValueError(message)
        present = present & greedy_present[:, None]
        kept = kept - greedy[:, None]
    elif baseline == "mean":
        kept = kept - kept.sum(1, keepdim=True) / counts.clamp(min=1)
        low = rewards.masked_fill(~present, torch.inf).amin(1, keepdim=True)
        high = rewards.masked_fill(~present, -torch.inf).amax(1, keepdim=True)
        present = present & (high > low)  # equal rewards give exact zeros, whatever the mean rounds to
    return torch.where(present, kept / counts.clamp(min=1), 0.0)


def drl_loss(logp: Tensor, advantage: Tensor, weights: Tensor) -> Tensor:
    """Return this part's share of L_rl = (r(greedy) - r(sample)) log p(sample | x).

    Args:
        logp: (b, S) log-prob of each sample, with gradient.
        advantage: (b, S) float64 from :func:`advantages`.
        weights: (b,) float64, weight of each prompt in the global loss.
    """
    return -((weights[:, None] * advantage).to(logp.dtype) * logp).sum()
