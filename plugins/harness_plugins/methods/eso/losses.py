"""The losses of ESO as functions of tensors. B prompts of a rank, b of them in a part, K candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from harness_plugins.methods.building_blocks.supervised import micro_batches

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def eso_loss(logp: Tensor, fitness: Tensor, weights: Tensor, coef: float) -> Tensor:
    """Return this part's share of ``coef`` x L_eso, L_eso = sum_j (u - R_j) log p(a_j | x) (Eq. 10, 11).

    Args:
        logp: (b, K) log-prob of each candidate, with gradient.
        fitness: (b, K) float64, R_j - u: reward minus the mean of its group; 0 for a candidate that does not count.
        weights: (b,) float64, weight of each prompt in the global loss (see :func:`prompt_weights`).
        coef: the weight of the term beside the supervised one.
    """
    return -((coef * weights[:, None] * fitness).to(logp.dtype) * logp).sum()


def prompt_weights(
    means: Tensor,
    *,
    threshold: float | None,
    micro_batch_size: int | None,
    total: Callable[[Tensor | float], Tensor],
) -> Tensor:
    """Return the weight of each prompt's sum in the global loss.

    Without a threshold 1 / prompts. With one, 1 / prompts that pass, for those; 0 for the others and where none passes.
    With a micro-batch size beside it, what the released code does: it multiplies (B,) by (B, 1), and what comes out is
    the plain sum over a micro-batch of which at least one prompt passes, averaged over micro-batches.

    Args:
        means: (B,) float64, mean reward of each prompt's group.
        threshold: a prompt passes when its mean reward is larger; None for no gate.
        micro_batch_size: prompts in a micro-batch, for the gate as released; None for the masked mean.
        total: sums over all ranks (``Run.total``).

    Returns:
        (B,) float64.
    """
    ones = torch.ones_like(means)
    if threshold is None:
        return ones / total(ones.sum())
    passes = (means > threshold).to(means.dtype)
    if micro_batch_size is None:
        return passes / total(passes.sum()).clamp(min=1)
    group = micro_batches(len(means), micro_batch_size, means.device)
    passed = torch.zeros_like(means).index_add(0, group, passes)
    return (passed[group] > 0).to(means.dtype) / total(float(-(-len(means) // micro_batch_size)))


def importance_weights(target: Tensor, behaviour: Tensor, *, cap: float | None) -> Tensor:
    """Return p(a | x) / q(a | x), at most ``cap``: what makes candidates drawn from q an estimate under p.

    Args:
        target: (b, K) float64 log-prob of each candidate at temperature 1.
        behaviour: (b, K) float64 log-prob at the temperature that drew it.
        cap: upper bound, None for the exact ratio.
    """
    ratio = (target - behaviour).exp()
    return ratio if cap is None else ratio.clamp(max=cap)
