"""What is read off logits: log-probabilities and entropies, chunk by chunk, so that few numbers are held at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import torch

from harness.lm.cuda.sizes import KEPT
from harness.lm.model import backbone

if TYPE_CHECKING:
    from torch import Tensor

    from harness.lm.model.policy import Policy

#: Rows of logits that are made at once: enough for a matrix product to be worth its weights ...
_ROWS = 512
#: ... and so few numbers that what is made of them stays small.
_CHUNK = 1 << 24


@dataclass(frozen=True)
class ScoringParams:
    """How tokens are scored, and what is wanted beside their log-probabilities."""

    temperature: float = 1.0
    """What logits are divided by."""
    dtype: torch.dtype | None = None
    """Of the log-softmax: float32 unless given, float64 for a float64 model."""
    hidden: bool = False
    """Whether the hidden state that predicts each token is wanted."""
    entropy: bool = False
    """Whether the entropy of the distribution that each token was predicted by is wanted, which has no gradient."""


#: Log-probabilities alone, as the model has them.
PLAIN: Final = ScoringParams()


def token_scores(
    policy: Policy, states: Tensor, logits: Tensor | None, targets: Tensor, params: ScoringParams
) -> tuple[Tensor, Tensor]:
    """Return log-probabilities (N,) of ``targets``, and entropies (N,), zeros unless asked for.

    Args:
        policy: the model.
        states: (N, D), the hidden states that predict the targets.
        logits: (N, V), where the model makes them itself; else None.
        targets: (N,) int64.
        params: what is asked of them; hidden states apart.
    """
    weight = None if logits is not None else backbone.head_weight(policy.model)
    if weight is not None and params.dtype in (None, torch.float32, torch.float64):
        numbers = len(targets) * policy.vocab_size
        keep = torch.is_grad_enabled() and numbers <= KEPT.get(targets.device.type, KEPT["cpu"])
        return cast(
            "tuple[Tensor, Tensor]",
            _LinearScores.apply(states, weight, targets, params, keep, policy),  # type: ignore[no-untyped-call]  # torch
        )
    values, entropies = [states.new_zeros(0)], [states.new_zeros(0)]
    size = chunk_size(policy)
    for start in range(0, len(targets), size):
        part = slice(start, start + size)
        chunk = backbone.logits(policy, states[part], None if logits is None else logits[part])
        logp = (upcast(chunk, params.dtype) / params.temperature).log_softmax(-1)
        values.append(logp.gather(1, targets[part, None])[:, 0])
        entropies.append(_entropy(logp.detach()) if params.entropy else torch.zeros_like(values[-1]))
    return torch.cat(values[1:] or values), torch.cat(entropies[1:] or entropies)


class _LinearScores(torch.autograd.Function):
    """Log-probabilities of targets under ``softmax(states @ weight.T / temperature)``, chunk by chunk.

    Autograd over the same steps holds four tensors of N x V and writes six; this holds one, or none beyond a limit.
    """

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        targets: Tensor,
        params: ScoringParams,
        keep: bool,  # noqa: FBT001  # torch passes positions
        policy: Policy,
    ) -> tuple[Tensor, Tensor]:
        kind = states.device.type
        compute = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
        ctx.compute, ctx.temperature, ctx.dtype, ctx.policy = compute, params.temperature, params.dtype, policy
        rows, columns = states.to(compute), weight.to(compute)[: policy.vocab_size]
        size = chunk_size(policy)
        kept: list[tuple[Tensor, Tensor]] = []
        values: list[Tensor] = []
        totals: list[Tensor] = []
        entropies: list[Tensor] = []
        for start in range(0, len(states), size):
            logits = policy.restrict(rows[start : start + size] @ columns.t())
            scaled = upcast(logits, params.dtype)
            scaled = scaled if params.temperature == 1 else scaled / params.temperature
            aimed = scaled.gather(1, targets[start : start + size, None])[:, 0]
            top = scaled.amax(-1)
            # 0 x -inf must not spoil the sum
            below = (scaled - top[:, None]).clamp_(min=-1e30) if params.entropy else None
            weights = scaled.sub_(top[:, None]).exp_()  # nobody else has these numbers
            total = weights.sum(-1)
            if keep:
                kept.append((weights, total))
            logarithm = total.log()
            values.append(aimed - top - logarithm)
            totals.append(top + logarithm)
            if below is not None:
                entropies.append(logarithm - torch.linalg.vecdot(weights, below) / total)
        none = upcast(states.new_zeros(0), params.dtype)
        result = torch.cat(values) if values else none
        ctx.kept = kept if keep else None
        ctx.save_for_backward(states, weight, targets, torch.cat(totals) if totals else none)
        joined = torch.cat(entropies) if entropies else torch.zeros_like(result)
        ctx.mark_non_differentiable(joined)
        return result, joined

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        states, weight, targets, totals = ctx.saved_tensors
        rows, columns = states.to(ctx.compute), weight.to(ctx.compute)[: ctx.policy.vocab_size]
        size = chunk_size(ctx.policy)
        pull = gradients[0] / ctx.temperature
        into_states = torch.empty_like(rows) if ctx.needs_input_grad[0] else None
        into_weight = torch.empty_like(weight) if ctx.needs_input_grad[1] else None
        if into_weight is not None:
            into_weight[len(columns) if len(rows) else 0 :] = 0  # the first chunk writes the rest
        for place, start in enumerate(range(0, len(rows), size)):
            part = slice(start, start + size)
            aimed = targets[part, None]
            if ctx.kept is None:
                scaled = upcast(ctx.policy.restrict(rows[part] @ columns.t()), ctx.dtype)
                scaled = scaled if ctx.temperature == 1 else scaled / ctx.temperature
                weights, total = scaled.sub_(totals[part, None]).exp_(), torch.ones_like(totals[part])
            else:
                weights, total = ctx.kept[place]
            # d log p(target) / d logits = (one-hot(target) - p) / temperature: in place, and scaled where it is narrow
            before = weights.gather(1, aimed)
            flow = weights.scatter_(1, aimed, before - total[:, None])
            factor = (-pull[part] / total)[:, None]
            if flow.dtype != ctx.compute:
                flow, factor = (flow * factor).to(ctx.compute), torch.ones_like(factor)
            if into_states is not None:
                torch.mm(flow, columns, out=into_states[part]).mul_(factor)
            if into_weight is not None:
                out, pulled = into_weight[: len(columns)], rows[part] * factor.to(ctx.compute)
                if out.dtype == flow.dtype:
                    out.addmm_(flow.t(), pulled, beta=min(place, 1))
                else:
                    product = flow.t() @ pulled
                    out.copy_(product) if place == 0 else out.add_(product)
            weights.scatter_(1, aimed, before)  # a graph may be walked back again
        into_states = None if into_states is None else into_states.to(states.dtype)
        return into_states, into_weight, None, None, None, None


def chunk_size(policy: Policy) -> int:
    """Return of how many positions logits are made at once."""
    return max(1, min(_ROWS, _CHUNK // policy.vocab_size))


def _entropy(logp: Tensor) -> Tensor:
    entropy: Tensor = -torch.linalg.vecdot(logp.exp(), logp.clamp(min=-1e30))  # 0 x -inf must not spoil the sum
    return entropy


def upcast(logits: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Return logits in the type of the log-softmax: ``dtype``, or float32 at least."""
    if dtype is not None:
        return logits.to(dtype)
    return logits if logits.dtype == torch.float64 else logits.float()
