"""Sampling groups of completions: all candidates of all prompts in one batch, each row at its own temperature.

A text is a function of the weights, its prompt and the coordinates of its noise (see :mod:`harness.lm.decode.noise`);
not of the batch it was drawn in. Settings are arguments, never a checkpoint's ``generation_config``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from harness.api import Completions, Prompts
from harness.errors import DivergedError, InputError
from harness.lm.decode.choose import decoder
from harness.lm.decode.decoder import Decoder, check_prompts
from harness.lm.decode.noise import Race, row_keys
from harness.lm.model.backbone import evaluating

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from harness.lm.model.policy import Policy

#: Rows leave together, once no more than this share of those in the batch still runs: to leave is to copy the others.
_LEAVE = 0.9


@dataclass(frozen=True)
class Drawn:
    """What :func:`sample` returns."""

    completions: Completions
    """(B, K, T), T being the longest completion."""
    entropy: Tensor
    """(B, K) float64: mean over the generated positions (EOS's included) of the entropy, in nats, of the whole
    distribution at temperature 1."""
    logprobs: Tensor | None = None
    """(B, K, T) float64: log-probability of each token at temperature 1, 0 outside the completion; if asked for."""


def sample(
    policy: Policy,
    prompts: Prompts,
    ids: Sequence[str],
    *,
    temperatures: Sequence[float],
    draws_key: Sequence[int] | None = None,
    seed: int,
    purpose: str,
    step: int,
    max_new_tokens: int,
    top_k: int = 0,
    top_p: float = 1.0,
    max_rows: int | None = None,
    logprobs: bool = False,
    suppress_stops: bool = False,
) -> Drawn:
    """Draw one completion a temperature for each prompt, without gradient and without dropout.

    Args:
        policy: the model; its mode is as before afterwards.
        prompts: B prompts of at least one token each; padding ids do not matter.
        ids: the B example ids.
        temperatures: K numbers, 0 for the most probable token (the lowest id among equals).
        draws_key: the candidate number of each temperature, which its noise is keyed by; 0 to K - 1 unless given.
        seed: of the run; with ``purpose``, ``step``, example and candidate it determines the noise.
        purpose: what the draws are for.
        step: the optimiser step, or 0.
        max_new_tokens: a completion without EOS after so many tokens is cut (``finished`` is False).
        top_k: draw from so many most probable ids (and those equal to the last); 0 for all.
        top_p: draw from the fewest most probable ids (after ``top_k``) with at least this probability together.
        max_rows: most rows decoded together, but all of a prompt's; all unless given. Changes memory, speed, no text.
        logprobs: whether to return each token's log-probability.
        suppress_stops: draw from the distribution without EOS, so that every completion has ``max_new_tokens`` tokens;
            entropy and log-probabilities are then of that distribution.

    Raises:
        InputError: a setting out of range, an empty prompt, or a prompt that leaves too little context.
        DivergedError: the model's probabilities are not finite; what it would be made to say means nothing.
    """
    keys = list(range(len(temperatures))) if draws_key is None else list(draws_key)
    _check(policy, prompts, ids, temperatures, keys, max_new_tokens, top_k, top_p)
    batch, group = len(prompts), len(temperatures)
    out = _Output(batch * group, max_new_tokens, policy.device)
    with torch.inference_mode(), evaluating(policy.model):
        order = prompts.lengths.argsort(descending=True, stable=True)
        width = max(1, batch if max_rows is None else max_rows // group)
        for rows in torch.split(order, width) if batch else ():
            named = [ids[i] for i in rows.tolist()]
            noise = row_keys(seed, purpose, step, named, keys, policy.device).view(-1)
            places = (rows[:, None] * group + torch.arange(group, device=rows.device)).view(-1)
            start = decoder(policy, prompts.ids[rows], prompts.lengths[rows], repeats=group, room=max_new_tokens - 1)
            race = Race(noise, start.logits.shape[1])
            manner = Manner.of(list(temperatures) * len(rows), noise.device, top_k, top_p)
            _decode(policy, start, race, manner, places, out, suppress_stops=suppress_stops)
    drawn = out.drawn(batch, group, policy.eos_id, with_logprobs=logprobs)
    _check_finite(drawn.entropy, ids)
    return drawn


class _Output:
    """Where the rows of all chunks end up. Made outside inference mode, so that losses may index with it."""

    def __init__(self, rows: int, width: int, device: torch.device) -> None:
        """Take ``rows`` rows of at most ``width`` tokens."""
        self.ids = torch.zeros(rows, width, dtype=torch.int64, device=device)
        self.entropy = torch.zeros(rows, width, dtype=torch.float64, device=device)
        self.logprobs = torch.zeros(rows, width, dtype=torch.float64, device=device)

    def write(self, places: Tensor, first: int, tokens: Sequence[Token]) -> None:
        """Write what the rows at ``places`` (N,) drew from position ``first`` on; what follows an EOS means nothing."""
        columns = slice(first, first + len(tokens))
        self.ids[places, columns] = torch.stack([token.tokens for token in tokens], 1)
        self.entropy[places, columns] = torch.stack([token.entropy for token in tokens], 1)
        self.logprobs[places, columns] = torch.stack([token.logprobs for token in tokens], 1)

    def drawn(self, batch: int, group: int, eos: int, *, with_logprobs: bool) -> Drawn:
        ended = self.ids == eos
        finished = ended.any(1)
        limit = self.ids.shape[1]
        lengths = torch.where(finished, ended.long().argmax(1) + 1, limit)  # the first of equals
        width = int(lengths.max()) if len(lengths) else 0
        behind = torch.arange(limit, device=lengths.device) >= lengths[:, None]
        # one after the other, so that the sum does not depend on what another row made of the width
        entropy = self.entropy.masked_fill_(behind, 0.0).cumsum(1)[:, -1]

        def shaped(values: Tensor) -> Tensor:
            return values.masked_fill_(behind, 0)[:, :width].reshape(batch, group, width).clone()

        return Drawn(
            Completions(shaped(self.ids), lengths.view(batch, group), finished.view(batch, group)),
            (entropy / lengths).view(batch, group),
            shaped(self.logprobs) if with_logprobs else None,
        )


def _decode(
    policy: Policy, rows: Decoder, race: Race, manner: Manner, places: Tensor, out: _Output, *, suppress_stops: bool
) -> None:
    limit = out.ids.shape[1]
    running = torch.ones_like(places, dtype=torch.bool)
    unwritten: list[Token] = []
    for position in range(limit):
        if suppress_stops:
            rows.logits[:, policy.eos_id] = -torch.inf
        drawn = draw(rows.logits, manner, race, position)
        tokens = drawn.tokens
        unwritten.append(drawn)
        running &= tokens != policy.eos_id
        count = int(running.sum())
        end = position + 1 == limit or count == 0
        leave = count <= _LEAVE * len(tokens)
        if end or leave:
            out.write(places, position + 1 - len(unwritten), unwritten)
            unwritten = []
        if end:
            return
        if leave:
            staying = running.nonzero()[:, 0]
            for each in (rows, race, manner):
                each.select(staying)
            tokens, places, running = tokens[staying], places[staying], running[staying]
        rows.step(tokens)


@dataclass
class Manner:
    """How the rows of a batch are drawn."""

    temperatures: Tensor
    """(N, 1) float64: what logits are divided by, 1 where the most probable token is taken."""
    cold: Tensor
    """(N,) bool: where it is."""
    top_k: int = 0
    top_p: float = 1.0
    greedy: bool = True
    """Whether any row is cold: asking the tensor would make a GPU wait."""
    random: bool = True
    """Whether any is not."""
    plain: bool = False
    """Whether all temperatures are 1."""

    @classmethod
    def of(cls, temperatures: Sequence[float], device: torch.device, top_k: int = 0, top_p: float = 1.0) -> Manner:
        """Draw row i at ``temperatures[i]``, 0 for the most probable token."""
        cold = [temperature == 0 for temperature in temperatures]
        divisors = [temperature or 1.0 for temperature in temperatures]
        return cls(
            torch.tensor(divisors, dtype=torch.float64, device=device)[:, None],
            torch.tensor(cold, device=device),
            top_k,
            top_p,
            greedy=any(cold),
            random=not all(cold),
            plain=all(temperature == 1 for temperature in temperatures),
        )

    def select(self, rows: Tensor) -> None:
        """Keep the rows that the index ``rows`` names."""
        self.temperatures, self.cold = self.temperatures[rows], self.cold[rows]


@dataclass(frozen=True)
class Token:
    """One token a row."""

    tokens: Tensor
    """(N,) int64."""
    logprobs: Tensor
    """(N,) float64, at temperature 1, of the whole distribution."""
    entropy: Tensor
    """(N,) float64, in nats, at temperature 1, of the whole distribution."""


def draw(logits: Tensor, manner: Manner, race: Race, position: int) -> Token:
    """Draw a token for each row of ``logits`` (N, V); see :func:`sample`."""
    if logits.dtype not in (torch.float32, torch.float64):
        logits = logits.float()
    below = (logits - logits.amax(-1, keepdim=True)).clamp_(min=-1e30)  # 0 x -inf must not spoil the entropy
    weights = below.exp()
    total = weights.sum(-1).double()
    logarithm = total.log()
    entropy = logarithm - torch.linalg.vecdot(weights, below).double() / total
    if manner.random:
        if not manner.plain:
            weights = (below / manner.temperatures.to(below.dtype)).exp_()
        tokens = race.draw(_filtered(weights, manner.top_k, manner.top_p), position)
        tokens = torch.where(manner.cold, below.argmax(-1), tokens) if manner.greedy else tokens
    else:
        tokens = below.argmax(-1)
    return Token(tokens, below.gather(1, tokens[:, None])[:, 0].double() - logarithm, entropy)


def _filtered(weights: Tensor, top_k: int, top_p: float) -> Tensor:
    """Set the weights (N, V) of ids that may not be drawn to 0."""
    if top_k and top_k < weights.shape[1]:
        least = weights.topk(top_k, -1).values[:, -1:]
        weights = weights.masked_fill(weights < least, 0.0)
    if top_p < 1:
        ordered, places = torch.sort(weights, dim=-1, descending=True, stable=True)
        before = ordered.double().cumsum(-1) - ordered
        ordered = ordered.masked_fill(before >= top_p * ordered.double().sum(-1, keepdim=True), 0.0)
        weights = torch.zeros_like(weights).scatter_(1, places, ordered)
    return weights


def _check(
    policy: Policy,
    prompts: Prompts,
    ids: Sequence[str],
    temperatures: Sequence[float],
    keys: Sequence[int],
    max_new_tokens: int,
    top_k: int,
    top_p: float,
) -> None:
    if len(ids) != len(prompts) or len(keys) != len(temperatures):
        raise ValueError("one id a prompt and one key a temperature")
    for name, value, expected, right in (
        ("temperatures", list(temperatures), "at least one number, none below 0", bool(temperatures)),
        *(("temperature", t, "a number from 0 up", 0 <= t < float("inf")) for t in temperatures),
        ("max_new_tokens", max_new_tokens, "at least 1", max_new_tokens >= 1),
        ("top_k", top_k, "0 (all ids) or more", top_k >= 0),
        ("top_p", top_p, "above 0 and at most 1", 0 < top_p <= 1),
    ):
        if not right:
            raise InputError(f"{name} is out of range", got=value, expected=expected)
    check_prompts(policy, prompts, max_new_tokens, ids)


def _check_finite(entropy: Tensor, ids: Sequence[str]) -> None:
    """Raise where a weight that is not finite has spoilt a distribution; the draw itself would not notice."""
    spoilt = ~entropy.isfinite().all(1)
    if bool(spoilt.any()):
        raise DivergedError(
            "the model's probabilities are not finite: are its weights?",
            where=f"example {ids[int(spoilt.nonzero()[0])]}",
        )
