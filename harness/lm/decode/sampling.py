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
from harness.in_parts import decoding_batcher, decoding_costs
from harness.lm.cuda.sizes import DRAWN_TOGETHER, LOOK_EVERY
from harness.lm.decode.choose import decoder
from harness.lm.decode.decoder import Decoder, check_prompts
from harness.lm.decode.noise import Noise, Race, row_keys
from harness.lm.model.backbone import evaluating
from harness.lm.model.packed_linear import packed
from harness.text.stops import end_at_texts, has_stop_text, is_stop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from harness.in_parts import Batcher
    from harness.lm.model.policy import Policy

#: Rows leave together, once no more than this share of those in the batch still runs: to leave is to copy the others.
_LEAVE = 0.9


@dataclass(frozen=True)
class SamplingParams:
    """How completions are drawn."""

    temperatures: tuple[float, ...]
    """One for each completion of a prompt: from 0, for the most probable token (the lowest id among equals)."""
    max_new_tokens: int
    """A completion without EOS after so many tokens is cut (``finished`` is False)."""
    top_k: int = 0
    """Draw from so many most probable ids (and those equal to the last); 0 for all."""
    top_p: float = 1.0
    """Draw from the fewest most probable ids (after ``top_k``) with at least this probability together."""
    suppress_stops: bool = False
    """Draw from the distribution without EOS, so that every completion has ``max_new_tokens`` tokens; entropy and
    log-probabilities are then of that distribution."""
    with_logprobs: bool = False
    """Whether each token's log-probability is wanted."""

    def check(self) -> None:
        """Raise InputError where a setting is out of range."""
        for name, value, expected, right in (
            ("temperatures", list(self.temperatures), "at least one number, none below 0", bool(self.temperatures)),
            *(("temperature", t, "a number from 0 up", 0 <= t < float("inf")) for t in self.temperatures),
            ("max_new_tokens", self.max_new_tokens, "at least 1", self.max_new_tokens >= 1),
            ("top_k", self.top_k, "0 (all ids) or more", self.top_k >= 0),
            ("top_p", self.top_p, "above 0 and at most 1", 0 < self.top_p <= 1),
        ):
            if not right:
                raise InputError(f"{name} is out of range", got=value, expected=expected)


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
    params: SamplingParams,
    noise: Noise,
    *,
    batcher: Batcher | None = None,
) -> Drawn:
    """Draw one completion a temperature for each prompt, without gradient and without dropout.

    Args:
        policy: the model; its mode is as before afterwards.
        prompts: B prompts of at least one token each; padding ids do not matter.
        ids: the B example ids.
        params: K temperatures and the rest.
        noise: what the draws depend on beside weights, prompts and ``ids``.
        batcher: says how many of the prompts are decoded together (all unless given), and learns where memory runs
            out; costs are those of :func:`harness.in_parts.decoding_costs`. Changes memory and speed, no text.

    Raises:
        InputError: a setting out of range, an empty prompt, or a prompt that leaves too little context.
        DivergedError: the model's probabilities are not finite; what it would be made to say means nothing.
        SingleRowError: memory runs out for a single prompt.
    """
    batch, group = len(prompts), len(params.temperatures)
    candidates = range(group) if noise.candidates is None else noise.candidates
    if len(ids) != batch or len(candidates) != group:
        raise ValueError("one id a prompt and one candidate a temperature")
    params.check()
    check_prompts(policy, prompts, params.max_new_tokens, ids)
    out = _Output(batch * group, params.max_new_tokens, policy.device)

    def work(part: list[int]) -> None:
        with torch.inference_mode():
            rows = torch.tensor(sorted(part, key=lambda row: -lengths[row]), device=prompts.lengths.device)
            keys = row_keys(noise, [ids[row] for row in rows.tolist()], candidates, policy.device).view(-1)
            places = (rows[:, None] * group + torch.arange(group, device=rows.device)).view(-1)
            room = params.max_new_tokens - 1
            start = decoder(policy, prompts.ids[rows], prompts.lengths[rows], repeats=group, room=room)
            race = Race(keys, start.logits.shape[1])
            _decode(policy, start, race, RowParams.of(params, len(rows), policy.device), places, out)

    lengths = prompts.lengths.tolist()
    with evaluating(policy.model), packed(policy, uses=params.max_new_tokens):
        costs = decoding_costs(lengths, group, params.max_new_tokens)
        for _ in (batcher or decoding_batcher()).parts(costs, work):
            pass  # each part has written its rows
    drawn = out.drawn(batch, group, policy, params)
    _check_finite(drawn.entropy, ids)
    return drawn


class _Output:
    """Where the rows of all parts end up. Made outside inference mode, so that losses may index with it."""

    def __init__(self, rows: int, width: int, device: torch.device) -> None:
        """Take ``rows`` rows of at most ``width`` tokens."""
        self.ids = torch.zeros(rows, width, dtype=torch.int64, device=device)
        self.entropy = torch.zeros(rows, width, dtype=torch.float64, device=device)
        self.logprobs = torch.zeros(rows, width, dtype=torch.float64, device=device)

    def write(self, places: Tensor, first: int, tokens: Sequence[DrawnTokens]) -> None:
        """Write what the rows at ``places`` (N,) drew from position ``first`` on; what follows an EOS means nothing."""
        columns = slice(first, first + len(tokens))
        self.ids[places, columns] = torch.stack([token.tokens for token in tokens], 1)
        self.entropy[places, columns] = torch.stack([token.entropy for token in tokens], 1)
        self.logprobs[places, columns] = torch.stack([token.logprobs for token in tokens], 1)

    def drawn(self, batch: int, group: int, policy: Policy, params: SamplingParams) -> Drawn:
        ended = is_stop(policy.stops, self.ids)
        finished = ended.any(1)
        limit = self.ids.shape[1]
        lengths = torch.where(finished, ended.long().argmax(1) + 1, limit)  # the first of equals
        if policy.stops.texts and not params.suppress_stops:
            lengths, finished = end_at_texts(policy.stops, policy.tokeniser, self.ids, lengths, finished)
        width = int(lengths.max()) if len(lengths) else 0
        behind = torch.arange(limit, device=lengths.device) >= lengths[:, None]
        # one after the other, so that the sum does not depend on what another row made of the width
        entropy = self.entropy.masked_fill_(behind, 0.0).cumsum(1)[:, -1]

        def shaped(values: Tensor) -> Tensor:
            return values.masked_fill_(behind, 0)[:, :width].reshape(batch, group, width).clone()

        return Drawn(
            Completions(shaped(self.ids), lengths.view(batch, group), finished.view(batch, group)),
            (entropy / lengths).view(batch, group),
            shaped(self.logprobs) if params.with_logprobs else None,
        )


def _decode(policy: Policy, rows: Decoder, race: Race, settings: RowParams, places: Tensor, out: _Output) -> None:
    limit = out.ids.shape[1]
    look_every = LOOK_EVERY.get(places.device.type, 1)
    window = policy.stops.window() + look_every if policy.stops.texts and not settings.params.suppress_stops else 0
    running, recent = torch.ones_like(places, dtype=torch.bool), places.new_zeros(len(places), 0)
    never = places.new_tensor(policy.stops.ids)  # here, since to make it is to wait for a GPU
    unwritten: list[DrawnTokens] = []
    for position in range(limit):
        if settings.params.suppress_stops:
            rows.logits.index_fill_(1, never, -torch.inf)
        drawn = draw(rows.logits, settings, race, position)
        tokens = drawn.tokens
        unwritten.append(drawn)
        running &= ~is_stop(policy.stops, tokens)
        if window:
            recent = torch.cat((recent[:, -window:], tokens[:, None]), 1)
        end, leave = position + 1 == limit, False
        if not end and (position + 1) % look_every == 0:
            if window:
                running &= ~has_stop_text(policy.stops, policy.tokeniser, recent)
            count = int(running.sum())
            end, leave = count == 0, count <= _LEAVE * len(tokens)
        if end or leave:
            out.write(places, position + 1 - len(unwritten), unwritten)
            unwritten = []
        if end:
            return
        if leave:
            staying = running.nonzero()[:, 0]
            for each in (rows, race, settings):
                each.select(staying)
            tokens, places, running, recent = tokens[staying], places[staying], running[staying], recent[staying]
        rows.step(tokens)


@dataclass
class RowParams:
    """:class:`SamplingParams` of the rows that are decoded together."""

    params: SamplingParams
    divisors: Tensor
    """(N, 1) float64: what logits are divided by, 1 where the most probable token is taken."""
    cold: Tensor
    """(N,) bool: where it is."""

    @classmethod
    def of(cls, params: SamplingParams, prompts: int, device: torch.device) -> RowParams:
        """Repeat the temperatures for so many prompts."""
        each = torch.tensor(params.temperatures * prompts, dtype=torch.float64, device=device)
        cold = each == 0
        return cls(params, each.masked_fill(cold, 1.0)[:, None], cold)

    def select(self, rows: Tensor) -> None:
        """Keep the rows that the index ``rows`` names."""
        self.divisors, self.cold = self.divisors[rows], self.cold[rows]


@dataclass(frozen=True)
class DrawnTokens:
    """One token a row."""

    tokens: Tensor
    """(N,) int64."""
    logprobs: Tensor
    """(N,) float64, at temperature 1, of the whole distribution."""
    entropy: Tensor
    """(N,) float64, in nats, at temperature 1, of the whole distribution."""


def draw(logits: Tensor, settings: RowParams, race: Race, position: int) -> DrawnTokens:
    """Draw a token for each row of ``logits`` (N, V); see :func:`sample`."""
    count, vocabulary = logits.shape
    size = max(1, DRAWN_TOGETHER.get(logits.device.type, 1 << 17) // vocabulary)
    parts = [
        _draw(logits[first : first + size], settings, race, position, slice(first, first + size))
        for first in range(0, count, size)
    ]
    return DrawnTokens(*parts[0]) if len(parts) == 1 else DrawnTokens(*map(torch.cat, zip(*parts, strict=True)))


def _draw(logits: Tensor, settings: RowParams, race: Race, position: int, rows: slice) -> tuple[Tensor, Tensor, Tensor]:
    """Return tokens, log-probabilities and entropies of some rows."""
    if logits.dtype not in (torch.float32, torch.float64):
        logits = logits.float()
    params = settings.params
    below = logits - logits.amax(-1, keepdim=True)
    below.clamp_(min=-1e30)  # 0 x -inf must not spoil the entropy
    weights = below.exp()
    total = weights.sum(-1).double()
    logarithm = total.log()
    entropy = logarithm - torch.linalg.vecdot(weights, below).double() / total
    # the temperatures are asked, not the rows' own numbers, for which a GPU would have to be waited for
    if any(params.temperatures):
        if any(temperature not in {0, 1} for temperature in params.temperatures):
            weights = (below / settings.divisors[rows].to(below.dtype)).exp_()
        tokens = race.draw(_filtered(weights, params.top_k, params.top_p), position, rows)
        if not all(params.temperatures):
            tokens = torch.where(settings.cold[rows], below.argmax(-1), tokens)
    else:
        tokens = below.argmax(-1)
    return tokens, below.gather(1, tokens[:, None])[:, 0].double() - logarithm, entropy


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


def _check_finite(entropy: Tensor, ids: Sequence[str]) -> None:
    """Raise where a weight that is not finite has spoilt a distribution; the draw itself would not notice."""
    spoilt = ~entropy.isfinite().all(1)
    if bool(spoilt.any()):
        raise DivergedError(
            "the model's probabilities are not finite: are its weights?",
            where=f"example {ids[int(spoilt.nonzero()[0])]}",
        )
