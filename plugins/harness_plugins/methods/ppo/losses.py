"""The formulas of PPO as functions of tensors. B prompts, K answers, T tokens; places without a token are 0.

Statistics and denominators are those of the global batch: ``total`` sums over all ranks (``Run.total``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    Total = Callable[[Tensor | float], Tensor]

#: What TRL and both reproductions of OpenAI's code add to a variance that they divide by.
_EPSILON = 1e-8
#: How far one error may be off its target, as a share of it, before the adaptive controller stops listening.
_MOST_ERROR = 0.2


def kl_estimate(logp: Tensor, reference: Tensor, estimator: Literal["k1", "k3"]) -> Tensor:
    """Return each token's estimate of KL(policy || reference), unbiased for tokens that the policy drew.

    With x = log p - log p_ref, k1 = x and k3 = exp(-x) - 1 + x.
    """
    x = logp - reference
    return x if estimator == "k1" else torch.expm1(-x) + x


def token_rewards(kl: Tensor, scores: Tensor, ends: Tensor, kl_coef: float) -> Tensor:
    """Return (B, K, T): minus ``kl_coef`` times the KL at each token, and the score at the answer's end.

    Args:
        kl: (B, K, T).
        scores: (B, K).
        ends: (B, K) int64, the place in T where the score falls.
        kl_coef: weight of the KL.
    """
    return (-kl_coef * kl).scatter_add(2, ends[..., None], scores[..., None].to(kl.dtype))


def missing_eos_scores(
    scores: Tensor, finished: Tensor, penalty: float | None, rule: Literal["subtract", "replace"]
) -> Tensor:
    """Return (B, K) scores in which an answer that was cut at the limit is penalised."""
    if penalty is None:
        return scores
    cut = scores - penalty if rule == "subtract" else torch.full_like(scores, -penalty)
    return torch.where(finished, scores, cut)


def gae(rewards: Tensor, values: Tensor, gamma: float, lam: float) -> Tensor:
    """Return (B, K, T) advantages: A_t = d_t + gamma lam A_{t+1} with d_t = r_t + gamma V_{t+1} - V_t.

    Behind an answer's end all is 0, so an episode ends with its answer.
    """
    advantages = torch.zeros_like(rewards)
    after = behind = torch.zeros_like(rewards[..., 0])
    for place in reversed(range(rewards.shape[-1])):
        after = rewards[..., place] + gamma * behind - values[..., place] + gamma * lam * after
        behind = values[..., place]
        advantages[..., place] = after
    return advantages


def whiten(x: Tensor, mask: Tensor, total: Total, *, unbiased: bool, shift_mean: bool = True) -> Tensor:
    """Return ``x`` less its mean over the masked places, over its standard deviation there; 0 elsewhere.

    Without ``shift_mean`` the mean is added again. A single place, which has no variance, becomes 0.
    """
    count = total(mask.sum()).clamp(min=1)
    mean = total(torch.where(mask, x, 0.0).sum()) / count
    centred = torch.where(mask, x - mean, 0.0)
    variance = total(centred.square().sum()) / (count - int(unbiased)).clamp(min=1)
    white = centred * torch.rsqrt(variance + _EPSILON)
    return white if shift_mean else torch.where(mask, white + mean, 0.0)


def policy_losses(ratio: Tensor, advantages: Tensor, cliprange: float) -> tuple[Tensor, Tensor]:
    """Return each token's loss max(-A r, -A clip(r, 1 - c, 1 + c)), and whether the clipped one is the larger."""
    plain = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - cliprange, 1 + cliprange)
    return torch.maximum(plain, clipped), clipped > plain


def value_losses(
    values: Tensor, before: Tensor, returns: Tensor, cliprange_value: float | None
) -> tuple[Tensor, Tensor]:
    """Return each token's loss 1/2 max((V - R)^2, (clip(V, V_old - c, V_old + c) - R)^2), and where the second is it.

    Args:
        values: V, with gradient.
        before: V_old, what V was when the answer was sampled.
        returns: R, advantage (not whitened) plus V_old.
        cliprange_value: c; None for no clipping.
    """
    plain = (values - returns).square()
    if cliprange_value is None:
        return 0.5 * plain, torch.zeros_like(plain, dtype=torch.bool)
    clipped = (values.clamp(before - cliprange_value, before + cliprange_value) - returns).square()
    return 0.5 * torch.maximum(plain, clipped), clipped > plain


def adapted(kl_coef: float, kl: float, *, target: float, horizon: float, answers: float) -> float:
    """Return the next KL coefficient (Ziegler et al. 2019, section 2.2, as released).

    Args:
        kl_coef: the present one.
        kl: mean KL of an answer, in nats.
        target: what it should be.
        horizon: answers over which an error of the largest size moves the coefficient by a fifth.
        answers: how many ``kl`` is a mean of.
    """
    error = min(max(kl / target - 1, -_MOST_ERROR), _MOST_ERROR)
    return kl_coef * (1 + error * answers / horizon)


def explained_variance(returns: Tensor, values: Tensor, mask: Tensor, total: Total) -> float:
    """Return 1 - Var(R - V) / Var(R) over the masked places; 0 where the returns do not vary."""
    count = total(mask.sum()).clamp(min=1)

    def spread(x: Tensor) -> float:
        mean = total(torch.where(mask, x, 0.0).sum()) / count
        return float(total(torch.where(mask, x - mean, 0.0).square().sum()))

    whole = spread(returns)
    left = spread(returns - values)
    return 1 - left / whole if whole > 0 else 0.0
