"""The losses of RRHF as functions of tensors. B prompts of a rank, b of them in a part, K candidates."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from torch import Tensor


def pair_weights(
    rewards: Tensor,
    present: Tensor,
    pair_set: Literal["all", "upper_triangle"],
    reduction: Literal["sum", "mean"],
) -> Tensor:
    """Return the weight of each pair within its prompt's ranking loss.

    Entry (i, j) is that of "i is worse than j", r_i < r_j; ties are not a pair. ``upper_triangle`` keeps i < j alone.

    Args:
        rewards: (B, K) float64.
        present: (B, K) bool: candidates that count.
        pair_set: which pairs.
        reduction: 1 a pair, or 1 / the prompt's pairs.

    Returns:
        (B, K, K) float64; 0 where there is no pair.
    """
    pairs = (rewards[:, :, None] < rewards[:, None, :]) & present[:, :, None] & present[:, None, :]
    if pair_set == "upper_triangle":
        pairs = pairs.triu(1)
    weights = pairs.to(torch.float64)
    return weights if reduction == "sum" else weights / weights.sum((1, 2), keepdim=True).clamp(min=1)


def rank_loss(scores: Tensor, pairs: Tensor, weights: Tensor) -> Tensor:
    """Return this part's share of L_rank = sum over r_i < r_j of max(0, p_i - p_j).

    Args:
        scores: (b, K) p of each candidate, with gradient: its log-prob over a length.
        pairs: (b, K, K) float64 from :func:`pair_weights`.
        weights: (b,) float64, weight of each prompt in the global loss.
    """
    violation = torch.relu(scores[:, :, None] - scores[:, None, :])
    return ((weights[:, None, None] * pairs).to(scores.dtype) * violation).sum()


def best(rewards: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """Return (B,) int64, the first candidate with the highest reward, and (B,) bool, whether there is one."""
    return rewards.masked_fill(~present, -math.inf).argmax(1), present.any(1)
