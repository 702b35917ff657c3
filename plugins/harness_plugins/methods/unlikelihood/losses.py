"""The losses of unlikelihood training as functions of tensors. B prompts (b of a part), K candidates, T tokens."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from torch import Tensor


def worst_weights(rewards: Tensor, present: Tensor, ties: Literal["share", "first"]) -> Tensor:
    """Return which candidate of each group is pushed down, and how hard.

    ``share``: the candidates with the lowest reward share a weight of 1, and a group whose rewards are all equal has
    no worst. ``first``: the first of them alone, also where all are equal. A group of fewer than two gives zeros.

    Args:
        rewards: (B, K) float64.
        present: (B, K) bool: candidates that count.
        ties: what to do with several.

    Returns:
        (B, K) float64 whose rows sum to 1 or 0.
    """
    low = rewards.masked_fill(~present, math.inf).amin(1, keepdim=True)
    high = rewards.masked_fill(~present, -math.inf).amax(1, keepdim=True)
    worst = present & (rewards == low) & (present.sum(1, keepdim=True) >= 2)
    worst = worst & (worst.cumsum(1) == 1 if ties == "first" else high > low)
    return worst.to(torch.float64) / worst.sum(1, keepdim=True).clamp(min=1)


def log1mexp(x: Tensor, floor: float) -> Tensor:
    """Return log(1 - exp(x)) for x <= 0, accurate at both ends, with 1 - exp(x) at least ``floor``.

    Below the floor (x closer to 0 than ``-floor``) the value is constant, so that its gradient is 0 and not infinite.
    """
    x = x.clamp(max=math.log1p(-floor))
    edge = -math.log(2.0)
    near = x > edge  # exp(x) > 1/2: 1 - exp(x) cancels, expm1 does not
    inside = torch.log(-torch.expm1(torch.where(near, x, edge)))
    outside = torch.log1p(-torch.exp(torch.where(near, edge, x)))
    return torch.where(near, inside, outside)


def unlikelihood_loss(
    values: Tensor,
    mask: Tensor,
    weights: Tensor,
    *,
    loss: Literal["welleck", "logp_down"],
    length_norm: bool,
    min_one_minus_p: float,
    min_logp_per_token: float | None,
) -> Tensor:
    """Return this part's share of the term.

    ``welleck``: sum_t -log(1 - p(a_t)) (Welleck et al. 2020, Eq. 4 with the candidate's own tokens as the negatives).
    ``logp_down``: sum_t log p(a_t), the literal "decrease its log-probability".

    Args:
        values: (b, N, T) log-probs with gradient, float32 or wider.
        mask: (b, N, T) bool: the tokens that count.
        weights: (b, N) float64, weight of each candidate in the global loss; 0 for one that is not pushed.
        loss: which reading.
        length_norm: mean over a candidate's counted tokens, not the sum.
        min_one_minus_p: floor of 1 - p, for ``welleck``.
        min_logp_per_token: floor of log p, for ``logp_down``; None for none.
    """
    if loss == "welleck":
        each = -log1mexp(values.masked_fill(~mask, -1.0), min_one_minus_p)  # -1: finite where nothing is counted
    else:
        each = values if min_logp_per_token is None else values.clamp(min=min_logp_per_token)
    sums = torch.where(mask, each, torch.zeros_like(each)).sum(-1)
    if length_norm:
        sums = sums / mask.sum(-1).clamp(min=1)
    return (weights.to(sums.dtype) * sums).sum()
