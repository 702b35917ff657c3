"""Log-probabilities of completions: one forward for all completions of a prompt, logits only at scored positions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from harness.api import Completions, Logits, LogProbs, Prompts
from harness.lm.model import backbone
from harness.lm.score import trees as tree_attention
from harness.lm.score.packing import Packed, pack, pad

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from harness.lm.model.policy import Policy

#: Rows of logits that are made at once: enough for a matrix product to be worth its weights ...
_ROWS = 512
#: ... and so few numbers that what is made of them stays small.
_CHUNK = 1 << 24
#: Numbers of a softmax that are kept for the backward pass; beyond this they are made again there.
_KEPT = {"cpu": 1 << 26, "cuda": 1 << 28}


class ScoringModule(nn.Module):
    """The policy's model with its scoring, as one module: what data parallelism wraps and calls.

    Whatever makes gradients happens inside ``forward``, so that a wrapper sees (and synchronises) all of it.
    """

    def __init__(self, policy: Policy) -> None:
        """Take the model of ``policy`` as a submodule."""
        super().__init__()
        self.model: nn.Module = policy.model
        self._policy = [policy]  # in a list, so that it is no submodule whatever it is

    def forward(
        self,
        packed: Packed,
        *,
        dropout: bool,
        temperature: float = 1.0,
        dtype: torch.dtype | None = None,
        hidden: bool = False,
        entropy: bool = False,
        logits: bool = False,
        scores: bool = True,
    ) -> dict[str, Tensor]:
        """Score the N tokens of ``packed``.

        Returns:
            ``logits`` (N, V) if asked for, else ``values`` (N,) unless ``scores`` is off. If asked for, ``hidden``
            (N, D) and ``entropy`` (N,).
        """
        policy = self._policy[0]
        backbone.split(self.model)  # tries a forward the first time, which must find the model's own attention
        with policy.autocast():
            with backbone.scoring(self.model, dropout=dropout, attention=attention(packed)):
                states, every, _ = backbone.forward(self.model, **inputs(packed), use_cache=False)
            states = states.flatten(0, 1)[packed.sources]
            logits_at = None if every is None else every.flatten(0, 1)[packed.sources]
            result = {"hidden": states} if hidden else {}
            if not scores:
                return result
            read = _Reader(policy, states, logits_at)
            if logits:
                result["logits"] = upcast(read(0, len(states)), dtype)
            else:
                values, spread = read.scores(packed.targets, temperature, dtype, entropy=entropy)
                result |= {"values": values, "entropy": spread} if entropy else {"values": values}
        return result


def score(
    policy: Policy,
    prompts: Prompts,
    completions: Completions,
    *,
    temperature: float = 1.0,
    dropout: bool,
    dtype: torch.dtype | None = None,
    hidden: bool = False,
    entropy: bool = False,
    module: Callable[..., dict[str, Tensor]] | None = None,
) -> LogProbs:
    """Return the log-probabilities of completions (B, K, T), with gradient unless the caller turned it off.

    Args:
        policy: the model.
        prompts: B prompts.
        completions: (B, K, T).
        temperature: what logits are divided by.
        dropout: whether dropout is on.
        dtype: of the log-softmax: float32 unless given, float64 for a float64 model.
        hidden: also return the hidden state that predicts each token.
        entropy: also return the entropy of the distribution that each token was predicted by, without gradient.
        module: what to call instead of a :class:`ScoringModule` of ``policy``: one that was wrapped.
    """
    packed = prepare(policy, prompts, completions)
    found = (module or ScoringModule(policy))(
        packed, dropout=dropout, temperature=temperature, dtype=dtype, hidden=hidden, entropy=entropy
    )
    return LogProbs(
        _place(found["values"], packed),
        completions.mask,
        _place(found["hidden"], packed) if hidden else None,
        _place(found["entropy"], packed) if entropy else None,
    )


def score_instead(policy: Policy, prompts: Prompts, completions: Completions, targets: Tensor) -> Tensor:
    """Return the log-probabilities (B, K, T) of other tokens in the places of the completions', without dropout.

    Args:
        policy: the model.
        prompts: B prompts.
        completions: (B, K, T): what the model reads.
        targets: (B, K, T) int64: the token whose probability is asked at each position of a completion.
    """
    packed = prepare(policy, prompts, completions)
    packed = replace(packed, targets=targets.reshape(-1)[packed.places])
    return _place(ScoringModule(policy)(packed, dropout=False)["values"], packed)


def score_logits(
    policy: Policy,
    prompts: Prompts,
    completions: Completions,
    *,
    dropout: bool,
    dtype: torch.dtype | None = None,
    module: Callable[..., dict[str, Tensor]] | None = None,
) -> Iterator[Logits]:
    """Yield the logits of all scored positions, in chunks that bound the memory of what a loss makes of them."""
    packed = prepare(policy, prompts, completions)
    values = (module or ScoringModule(policy))(packed, dropout=dropout, dtype=dtype, logits=True)["logits"]
    _, group, width = packed.shape
    rows = torch.stack((packed.places // (group * width), packed.places // width % group, packed.places % width), dim=1)
    size = _chunk(policy)
    for start in range(0, len(values), size):
        part = slice(start, start + size)
        yield Logits(values[part], rows[part], packed.targets[part])


def final_states(
    policy: Policy,
    prompts: Prompts,
    completions: Completions,
    *,
    dropout: bool,
    module: Callable[..., dict[str, Tensor]] | None = None,
) -> Tensor:
    """Return the hidden state (B, K, D) at the last token of each completion, 0 where it is absent.

    What follows a token is predicted from its state, so a token is put behind each completion; it is never read.
    """
    present = completions.lengths > 0
    longer = Completions(
        torch.nn.functional.pad(completions.ids, (0, 1)), completions.lengths + present, completions.finished
    )
    packed = prepare(policy, prompts, longer)
    last = (longer.lengths.view(-1) - 1)[packed.places // longer.ids.shape[2]]
    ends = packed.places % longer.ids.shape[2] == last
    batch, group, width = packed.shape
    packed = replace(
        packed,
        sources=packed.sources[ends],
        targets=packed.targets[ends],
        places=packed.places[ends] // width,
        shape=(batch, group, 1),
    )
    call = module or ScoringModule(policy)
    return _place(call(packed, dropout=dropout, hidden=True, scores=False)["hidden"], packed)[:, :, 0]


def prepare(policy: Policy, prompts: Prompts, completions: Completions) -> Packed:
    """Return the rows of one forward, in the fastest form that the model can take."""
    if backbone.able(policy.model, "tree attention", lambda: _probe(policy.without_autocast())):
        return _pack(policy, prompts, completions)
    return pad(prompts, completions)


def inputs(packed: Packed) -> dict[str, Any]:
    """Return what a model's forward is given of ``packed``, under transformers' names."""
    given = {"input_ids": packed.input_ids, "position_ids": packed.position_ids, "attention_mask": packed.mask}
    return given if packed.forest is None else {**given, tree_attention.KEYWORD: packed.forest}


def attention(packed: Packed) -> str | None:
    """Return the name of the attention that ``packed`` wants, None for the model's own."""
    return None if packed.forest is None else tree_attention.NAME


def _pack(policy: Policy, prompts: Prompts, completions: Completions) -> Packed:
    # on a GPU many small products cost more than a large one whose mask throws half of it away
    flat = policy.device.type == "cpu" and backbone.attention(policy.model) == "sdpa"
    return pack(prompts, completions, next(policy.model.parameters()).dtype, flat=flat)


def upcast(logits: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Return logits in the type of the log-softmax: ``dtype``, or float32 at least."""
    if dtype is not None:
        return logits.to(dtype)
    return logits if logits.dtype == torch.float64 else logits.float()


class _Reader:
    """Makes logits, or what is read off them, of hidden states."""

    def __init__(self, policy: Policy, states: Tensor, logits: Tensor | None) -> None:
        self._policy = policy
        self._states = states
        self._logits = logits

    def __call__(self, start: int, stop: int) -> Tensor:
        if self._logits is not None:
            return self._policy.restrict(self._logits[start:stop])
        return self._policy.restrict(backbone.head(self._policy.model)(self._states[start:stop]))

    def scores(
        self, targets: Tensor, temperature: float, dtype: torch.dtype | None, *, entropy: bool
    ) -> tuple[Tensor, Tensor]:
        """Log-probabilities (N,) of ``targets``, and entropies (N,), zeros unless asked for."""
        weight = None if self._logits is not None else backbone.head_weight(self._policy.model)
        if weight is not None and dtype in (None, torch.float32, torch.float64):
            numbers = len(targets) * self._policy.vocab_size
            keep = torch.is_grad_enabled() and numbers <= _KEPT.get(targets.device.type, _KEPT["cpu"])
            return cast(
                "tuple[Tensor, Tensor]",
                _LinearScores.apply(self._states, weight, targets, temperature, dtype, entropy, keep, self._policy),  # type: ignore[no-untyped-call]  # torch
            )
        values, spread = [self._states.new_zeros(0)], [self._states.new_zeros(0)]
        size = _chunk(self._policy)
        for start in range(0, len(targets), size):
            logp = (upcast(self(start, start + size), dtype) / temperature).log_softmax(-1)
            values.append(logp.gather(1, targets[start : start + size, None])[:, 0])
            spread.append(_entropy(logp.detach()) if entropy else torch.zeros_like(values[-1]))
        return torch.cat(values[1:] or values), torch.cat(spread[1:] or spread)


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
        temperature: float,
        dtype: torch.dtype | None,
        entropy: bool,  # noqa: FBT001  # torch passes positions
        keep: bool,  # noqa: FBT001
        policy: Policy,
    ) -> tuple[Tensor, Tensor]:
        kind = states.device.type
        compute = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
        ctx.compute, ctx.temperature, ctx.dtype, ctx.policy = compute, temperature, dtype, policy
        lean, slim = states.to(compute), weight.to(compute)[: policy.vocab_size]
        size = _chunk(policy)
        kept: list[tuple[Tensor, Tensor]] = []
        values: list[Tensor] = []
        totals: list[Tensor] = []
        spread: list[Tensor] = []
        for start in range(0, len(states), size):
            logits = policy.restrict(lean[start : start + size] @ slim.t())
            scaled = upcast(logits, dtype)
            scaled = scaled if temperature == 1 else scaled / temperature
            aimed = scaled.gather(1, targets[start : start + size, None])[:, 0]
            expected = (scaled - scaled.amax(-1, keepdim=True)).clamp_(min=-1e30) if entropy else None
            top = scaled.amax(-1)
            weights = scaled.sub_(top[:, None]).exp_()  # nobody else has these numbers
            total = weights.sum(-1)
            if keep:
                kept.append((weights, total))
            logarithm = total.log()
            values.append(aimed - top - logarithm)
            totals.append(top + logarithm)
            if expected is not None:
                spread.append(logarithm - torch.linalg.vecdot(weights, expected) / total)
        none = upcast(states.new_zeros(0), dtype)
        result = torch.cat(values) if values else none
        ctx.kept = kept if keep else None
        ctx.save_for_backward(states, weight, targets, torch.cat(totals) if totals else none)
        spreads = torch.cat(spread) if spread else torch.zeros_like(result)
        ctx.mark_non_differentiable(spreads)
        return result, spreads

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        states, weight, targets, totals = ctx.saved_tensors
        lean, slim = states.to(ctx.compute), weight.to(ctx.compute)[: ctx.policy.vocab_size]
        size = _chunk(ctx.policy)
        pull = gradients[0] / ctx.temperature
        into_states = torch.empty_like(lean) if ctx.needs_input_grad[0] else None
        into_weight = torch.empty_like(weight) if ctx.needs_input_grad[1] else None
        if into_weight is not None:
            into_weight[len(slim) if len(lean) else 0 :] = 0  # the first chunk writes the rest
        for place, start in enumerate(range(0, len(lean), size)):
            part = slice(start, start + size)
            aimed = targets[part, None]
            if ctx.kept is None:
                scaled = upcast(ctx.policy.restrict(lean[part] @ slim.t()), ctx.dtype)
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
                torch.mm(flow, slim, out=into_states[part]).mul_(factor)
            if into_weight is not None:
                rows, pulled = into_weight[: len(slim)], lean[part] * factor.to(ctx.compute)
                if rows.dtype == flow.dtype:
                    rows.addmm_(flow.t(), pulled, beta=min(place, 1))
                else:
                    made = flow.t() @ pulled
                    rows.copy_(made) if place == 0 else rows.add_(made)
            weights.scatter_(1, aimed, before)  # a graph may be walked back again
        into_states = None if into_states is None else into_states.to(states.dtype)
        return into_states, into_weight, None, None, None, None, None, None


def _chunk(policy: Policy) -> int:
    return max(1, min(_ROWS, _CHUNK // policy.vocab_size))


def _entropy(logp: Tensor) -> Tensor:
    entropy: Tensor = -torch.linalg.vecdot(logp.exp(), logp.clamp(min=-1e30))  # 0 x -inf must not spoil the sum
    return entropy


def _place(values: Tensor, packed: Packed) -> Tensor:
    """Spread (N, …) over (B, K, T, …), 0 elsewhere."""
    batch, group, width = packed.shape
    flat = values.new_zeros(batch * group * width, *values.shape[1:]).index_put((packed.places,), values)
    return flat.view(batch, group, width, *values.shape[1:])


def _probe(policy: Policy) -> bool:
    """Try on a toy that a row under a tree of attention gives the logits of sequences of their own."""
    ids = torch.arange(3, 19, device=policy.device) % policy.vocab_size
    lengths = torch.tensor([3, 1], device=policy.device)
    prompts = Prompts(ids[:6].view(2, 3), lengths, ("", ""))
    sizes = torch.tensor([[3, 2], [1, 3]], device=policy.device)
    completions = Completions(ids[4:16].view(2, 2, 3), sizes, sizes < 0)
    with torch.no_grad():
        call = ScoringModule(policy)
        packed = _pack(policy, prompts, completions)
        trees = call(packed, dropout=False, logits=True)["logits"]
        apart = call(pad(prompts, completions), dropout=False, logits=True)["logits"]
    return backbone.alike(trees, apart)
