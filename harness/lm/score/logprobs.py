"""Log-probabilities of completions: one forward for all completions of a prompt, logits only at scored positions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from harness.api import Completions, Logits, LogProbs, Prompts
from harness.lm.model import backbone
from harness.lm.score.log_softmax import PLAIN, ScoringParams, chunk_size, token_scores, upcast
from harness.lm.score.packing import Packed, pack, pad
from harness.lm.way import way_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from harness.lm.model.policy import Policy


class ScoringModule(nn.Module):
    """The policy's model with its scoring, as one module: what data parallelism wraps and calls.

    Whatever makes gradients happens inside ``forward``, so that a wrapper sees (and synchronises) all of it.
    """

    def __init__(self, policy: Policy) -> None:
        """Take the model of ``policy`` as a submodule."""
        super().__init__()
        self.model: nn.Module = policy.model
        self._policy = [policy]  # in a list, so that it is no submodule whatever it is

    @property
    def policy(self) -> Policy:
        """The policy whose model this is."""
        return self._policy[0]

    def forward(
        self,
        packed: Packed,
        params: ScoringParams = PLAIN,
        *,
        dropout: bool,
        output: Literal["values", "logits", "states"] = "values",
    ) -> dict[str, Tensor]:
        """Score the N tokens of ``packed``.

        Returns:
            ``logits`` (N, V) or ``states`` (N, D), or ``values`` (N,) with ``states`` and ``entropy`` (N,), zeros
            unless asked for.
        """
        policy = self.policy
        backbone.split(self.model)  # tries a forward the first time, which must find the model's own attention
        with policy.autocast():
            with backbone.scoring(self.model, dropout=dropout, attention=packed.attention):
                states, logits, _ = backbone.forward(self.model, **packed.inputs(), use_cache=False)
            states = states.flatten(0, 1)[packed.sources]
            logits = None if logits is None else logits.flatten(0, 1)[packed.sources]
            if output == "states":
                return {"states": states}
            if output == "logits":
                return {"logits": upcast(backbone.logits(policy, states, logits), params.dtype)}
            values, entropies = token_scores(policy, states, logits, packed.targets, params)
        return {"values": values, "states": states, "entropy": entropies}


def score(
    policy: Policy,
    prompts: Prompts,
    completions: Completions,
    params: ScoringParams = PLAIN,
    *,
    dropout: bool,
    module: Callable[..., dict[str, Tensor]] | None = None,
) -> LogProbs:
    """Return the log-probabilities of completions (B, K, T), with gradient unless the caller turned it off.

    Args:
        policy: the model.
        prompts: B prompts.
        completions: (B, K, T).
        params: temperature, and what is returned beside log-probabilities.
        dropout: whether dropout is on.
        module: what to call instead of a :class:`ScoringModule` of ``policy``: one that was wrapped.
    """
    packed = prepare(policy, prompts, completions)
    scored = (module or ScoringModule(policy))(packed, params, dropout=dropout)
    return LogProbs(
        packed.place(scored["values"]),
        completions.mask,
        packed.place(scored["states"]) if params.hidden else None,
        packed.place(scored["entropy"]) if params.entropy else None,
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
    return packed.place(ScoringModule(policy)(packed, dropout=False)["values"])


def score_logits(
    policy: Policy,
    prompts: Prompts,
    completions: Completions,
    *,
    dropout: bool,
    module: Callable[..., dict[str, Tensor]] | None = None,
) -> Iterator[Logits]:
    """Yield the logits of all scored positions, in chunks that bound the memory of what a loss makes of them."""
    packed = prepare(policy, prompts, completions)
    values = (module or ScoringModule(policy))(packed, dropout=dropout, output="logits")["logits"]
    _, group, width = packed.shape
    rows = torch.stack((packed.places // (group * width), packed.places // width % group, packed.places % width), dim=1)
    size = chunk_size(policy)
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
    return packed.place(call(packed, dropout=dropout, output="states")["states"])[:, :, 0]


def prepare(policy: Policy, prompts: Prompts, completions: Completions) -> Packed:
    """Return the rows of one forward, as the policy's way has them: packed into one, or padded."""
    return (pack if way_of(policy).name == "fast" else pad)(prompts, completions)
