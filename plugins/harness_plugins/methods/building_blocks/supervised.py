"""The supervised term (Eq. 1): the negative log-likelihood of one target a prompt, under three reductions.

Each reduction is a fixed weight per target, found once for the whole batch over all ranks, so that the term does not
depend on how the batch is cut. B prompts of a rank, b of them in a part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from harness_plugins.methods.building_blocks.options import SftReduction


def micro_batches(size: int, micro_batch_size: int, device: torch.device) -> Tensor:
    """Return (B,) int64: the published code's micro-batch of each prompt, consecutive rows of a rank."""
    return torch.arange(size, device=device) // micro_batch_size


def supervised_weights(
    lengths: Tensor,
    reduction: SftReduction,
    micro_batch_size: int | None,
    total: Callable[[Tensor | float], Tensor],
) -> Tensor:
    """Return what each target's summed log-prob is multiplied by, negated, in the global loss.

    Args:
        lengths: (B,) int64, tokens of each target; 0 where a prompt has none, which then counts nowhere.
        reduction: ``token_mean``: 1 / tokens of the batch. ``seq_sum``: 1 / targets (Eq. 1 as it is printed).
            ``seq_mean``: 1 / (own tokens x targets).
        micro_batch_size: for ``token_mean``: prompts in a micro-batch, and a target's weight is 1 / tokens of its own,
            averaged over micro-batches; None for the batch's tokens.
        total: sums over all ranks (``Run.total``).

    Returns:
        (B,) float64.
    """
    tokens = lengths.to(torch.float64)
    present = lengths > 0
    if reduction == "token_mean" and micro_batch_size is None:
        scale = torch.ones_like(tokens) / total(tokens.sum()).clamp(min=1)
    elif reduction == "token_mean" and micro_batch_size is not None:
        group = micro_batches(len(lengths), micro_batch_size, lengths.device)
        sums = torch.zeros(len(lengths), dtype=tokens.dtype, device=tokens.device).index_add(0, group, tokens)
        scale = 1 / (sums[group].clamp(min=1) * total((sums > 0).sum()).clamp(min=1))
    else:
        targets = total(present.sum()).clamp(min=1)
        scale = 1 / (targets * (tokens.clamp(min=1) if reduction == "seq_mean" else torch.ones_like(tokens)))
    return torch.where(present, scale, torch.zeros_like(scale))


def supervised_loss(logp: Tensor, weights: Tensor) -> Tensor:
    """Return this part's share of the supervised term.

    Args:
        logp: (b,) summed log-prob of each target, with gradient.
        weights: (b,) float64 from :func:`supervised_weights`.
    """
    return -(weights.to(logp.dtype) * logp).sum()
