"""How far two models are apart along given texts: exact over the vocabulary at each position, chunk by chunk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from harness.lm.model import backbone
from harness.lm.score.log_softmax import chunk_size, upcast
from harness.lm.score.logprobs import ScoringModule, prepare

if TYPE_CHECKING:
    from torch import Tensor

    from harness.api import Completions, Prompts
    from harness.lm.model.policy import Policy


def divergence_sums(policy: Policy, other: Policy, prompts: Prompts, completions: Completions) -> Tensor:
    """Return sums over the tokens of each completion, in nats: (B, K, 3) float64, without gradient or dropout.

    Of position t with p the policy's distribution behind prompt and earlier tokens and q the other model's, over V ids:

        sum_t KL(q || p),   sum_t KL(p || q),   sum_t H(p)

    Softmaxes are taken in float64 whatever the models are computed in, so that what two nearly equal distributions
    leave is no rounding error of the softmax. A model beside itself gives exact zeros. Held beside the states (N, D) of
    both are a few (n, V) in float64 for chunks of n positions.

    Args:
        policy: p.
        other: q; it has the same ids.
        prompts: B prompts.
        completions: (B, K, T); sums of an absent one are 0.
    """
    batch, group, width = completions.ids.shape
    sums = torch.zeros(batch * group, 3, dtype=torch.float64, device=completions.ids.device)
    with torch.no_grad():
        mine, places = _positions(policy, prompts, completions)
        theirs = mine if other is policy else _positions(other, prompts, completions)[0]
        size = max(1, chunk_size(policy) // 4)  # float64, and two models
        for start in range(0, len(places), size):
            part = slice(start, start + size)
            p = _log_softmax(policy, mine[part])
            q = p if other is policy else _log_softmax(other, theirs[part])
            each = torch.stack((_mean(q, q - p).clamp(min=0), _mean(p, p - q).clamp(min=0), _mean(p, -p)), dim=1)
            sums.index_add_(0, places[part] // width, each)
    return sums.view(batch, group, 3)


def _positions(policy: Policy, prompts: Prompts, completions: Completions) -> tuple[Tensor, Tensor]:
    """Return states (N, D), or logits (N, V), and places in (B, K, T), in whose order any packing comes out alike."""
    packed = prepare(policy, prompts, completions)
    apart = backbone.split(policy.model) is not None
    scored = ScoringModule(policy)(packed, dropout=False, output="states" if apart else "logits")
    order = packed.places.argsort()
    return scored["states" if apart else "logits"][order], packed.places[order]


def _log_softmax(policy: Policy, values: Tensor) -> Tensor:
    if backbone.split(policy.model) is not None:
        values = backbone.logits(policy, values, None)
    return upcast(values, torch.float64).log_softmax(-1)


def _mean(log_weights: Tensor, values: Tensor) -> Tensor:
    """Return means (N,) of ``values`` (N, V) under distributions; an id without a token has no weight."""
    weights = log_weights.exp()
    means: Tensor = torch.linalg.vecdot(weights, torch.where(weights > 0, values, 0.0))
    return means
