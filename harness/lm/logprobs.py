"""Log-probabilities of completions: one forward for all completions of a prompt, logits only where a token is scored."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn

from harness.api import Completions, Logits, LogProbs, Prompts
from harness.lm import backbone
from harness.lm.packing import Packed, pack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from harness.lm.policy import Policy

log = logging.getLogger(__name__)

#: Logits held at once, in numbers: 64 MB of float32.
CHUNK = 1 << 24


class ScoringModule(nn.Module):
    """The policy's model with its scoring, as one module: what data parallelism wraps and calls.

    Whatever makes gradients happens inside ``forward``, so that a wrapper sees (and synchronises) all of it.
    """

    def __init__(self, policy: Policy) -> None:
        """Take the model of ``policy`` as a submodule."""
        super().__init__()
        self.model = policy.model
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
    ) -> dict[str, Tensor]:
        """Score the tokens of ``packed``.

        Returns:
            ``logits`` (N, V) if asked for; else ``values`` (N,), and if asked for ``entropy`` (N,). ``hidden`` (N, D).
        """
        policy = self._policy[0]
        with mode(self.model, dropout=dropout), policy.autocast():
            states, every, _ = backbone.forward(
                self.model,
                input_ids=packed.input_ids,
                position_ids=packed.position_ids,
                attention_mask=packed.mask,
                use_cache=False,
            )
            states = states.flatten(0, 1)[packed.sources]
            result = {"hidden": states} if hidden else {}
            if every is not None:
                every = every.flatten(0, 1)[packed.sources]

            def read(start: int, stop: int) -> Tensor:
                part = backbone.head(self.model, states[start:stop]) if every is None else every[start:stop]
                return policy.restrict(part)

            if logits:
                return result | {"logits": upcast(read(0, len(states)), dtype)}
            size = max(1, CHUNK // policy.vocab_size)
            values, entropies = [], []
            for start in range(0, len(states), size):
                chunk = upcast(read(start, start + size), dtype) / temperature
                logp = chunk.log_softmax(-1)
                values.append(logp.gather(1, packed.targets[start : start + size, None])[:, 0])
                if entropy:
                    entropies.append(_entropy(logp.detach()))
        none = states.new_zeros(0)
        result["values"] = torch.cat(values) if values else none
        if entropy:
            result["entropy"] = torch.cat(entropies) if entropies else none
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
        entropy: also return the entropy of the distribution that each token was predicted by.
        module: what to call instead of a fresh :class:`ScoringModule` of ``policy``: one that was wrapped.
    """
    call = module or ScoringModule(policy)
    packed = prepare(policy, prompts, completions)
    found = call(packed, dropout=dropout, temperature=temperature, dtype=dtype, hidden=hidden, entropy=entropy)
    return LogProbs(
        _place(found["values"], packed),
        completions.mask,
        _place(found["hidden"], packed) if hidden else None,
        _place(found["entropy"], packed) if entropy else None,
    )


def score_logits(
    policy: Policy,
    prompts: Prompts,
    completions: Completions,
    *,
    dropout: bool,
    dtype: torch.dtype | None = None,
    module: Callable[..., dict[str, Tensor]] | None = None,
) -> Iterator[Logits]:
    """Yield the logits of all scored positions, in chunks that bound the memory of what is made of them."""
    call = module or ScoringModule(policy)
    packed = prepare(policy, prompts, completions)
    values = call(packed, dropout=dropout, dtype=dtype, logits=True)["logits"]
    _, group, width = packed.shape
    rows = torch.stack((packed.places // (group * width), packed.places // width % group, packed.places % width), dim=1)
    size = max(1, CHUNK // policy.vocab_size)
    for start in range(0, len(values), size):
        stop = start + size
        yield Logits(values[start:stop], rows[start:stop], packed.targets[start:stop])


def prepare(policy: Policy, prompts: Prompts, completions: Completions) -> Packed:
    """Return the rows of one forward, in the form that the model can take."""
    return pack(prompts, completions, next(policy.model.parameters()).dtype)


def upcast(logits: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Return logits in the type of the log-softmax: ``dtype``, or float32 at least."""
    if dtype is not None:
        return logits.to(dtype)
    return logits if logits.dtype == torch.float64 else logits.float()


@contextmanager
def mode(model: nn.Module, *, dropout: bool) -> Iterator[None]:
    """Turn dropout on or off, and put every module's mode back afterwards."""
    before = {module: module.training for module in model.modules()}
    model.train(dropout)
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training


def _entropy(logp: Tensor) -> Tensor:
    return -(logp.exp() * logp.clamp(min=-1e30)).sum(-1)


def _place(values: Tensor, packed: Packed) -> Tensor:
    """Spread (N, …) over (B, K, T, …), 0 elsewhere."""
    batch, group, width = packed.shape
    flat = values.new_zeros(batch * group * width, *values.shape[1:])
    return flat.index_put((packed.places,), values).view(batch, group, width, *values.shape[1:])
