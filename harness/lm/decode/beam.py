"""Diverse beam search (Vijayakumar et al. 2018, "Diverse Beam Search", Algorithm 1) with Hamming diversity.

The beams of a prompt are cut into groups. At each step the groups choose one after the other, each as in plain beam
search, but the log-probability of a token is lowered by ``diversity_penalty`` for every beam of the earlier groups
that has just chosen it. What was taken off stays off: a beam's sum counts its penalties, as in the authors' code.

A sequence that ends is worth its sum divided by its length, EOS counted (transformers' ``length_penalty=1``), and so is
one that is cut at the limit. A group keeps as many sequences as it has beams, and is done when it has so many and no
beam that still runs is, by its present length, worth more than the worst of them (``early_stopping=False``): a group of
one beam is greedy decoding. Ties go to the earlier beam, then to the lower id.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from harness.api import Completions, Prompts
from harness.errors import InputError
from harness.in_parts import decoding_batcher, decoding_costs
from harness.lm.decode.choose import decoder
from harness.lm.decode.decoder import check_prompts
from harness.lm.model.backbone import evaluating
from harness.lm.model.packed_linear import packed
from harness.text.stops import end_at_texts, has_stop_text, is_stop

if TYPE_CHECKING:
    from torch import Tensor

    from harness.in_parts import Batcher
    from harness.lm.model.policy import Policy

_NEVER = float("-inf")


@dataclass(frozen=True)
class BeamParams:
    """How completions are searched for."""

    beams: int
    """Sequences a prompt."""
    groups: int
    """How many groups they are cut into; divides ``beams``. One group is plain beam search, one beam greedy."""
    diversity_penalty: float
    """Nats taken off a token for each beam of an earlier group that chose it at the same step."""
    max_new_tokens: int
    """A sequence without EOS after so many tokens is cut."""
    suppress_stops: bool = False
    """Search as if there were no EOS, so that every sequence has ``max_new_tokens`` tokens."""

    def check(self) -> None:
        """Raise InputError where a setting is out of range."""
        divides = 1 <= self.groups <= self.beams and self.beams % self.groups == 0
        penalty = self.diversity_penalty
        for name, value, expected, right in (
            ("beams", self.beams, "at least 1", self.beams >= 1),
            ("groups", self.groups, f"a divisor of beams ({self.beams})", divides),
            ("diversity_penalty", penalty, "a number from 0 up", 0 <= penalty < float("inf")),
            ("max_new_tokens", self.max_new_tokens, "at least 1", self.max_new_tokens >= 1),
        ):
            if not right:
                raise InputError(f"{name} is out of range", got=value, expected=expected)


def beam(policy: Policy, prompts: Prompts, params: BeamParams, *, batcher: Batcher | None = None) -> Completions:
    """Search, without gradient and without dropout.

    Args:
        policy: the model; its mode is as before afterwards.
        prompts: B prompts of at least one token each.
        params: how many beams, and the rest.
        batcher: says how many of the prompts are decoded together, as in :func:`harness.lm.decode.sampling.sample`.

    Returns:
        (B, beams, T): the groups one after the other, in each the best sequence first.

    Raises:
        InputError: a setting out of range, an empty prompt, or a prompt that leaves too little context.
        SingleRowError: memory runs out for a single prompt.
    """
    params.check()
    check_prompts(policy, prompts, params.max_new_tokens)
    batch, beams, limit = len(prompts), params.beams, params.max_new_tokens
    ids = torch.zeros(batch, beams, limit, dtype=torch.int64, device=policy.device)
    lengths = torch.zeros(batch, beams, dtype=torch.int64, device=policy.device)
    sizes = prompts.lengths.tolist()

    def work(part: list[int]) -> list[None]:
        with torch.inference_mode():
            rows = torch.tensor(sorted(part, key=lambda row: -sizes[row]), device=prompts.lengths.device)
            kept = _search(policy, prompts[rows], params)
            ids[rows], lengths[rows] = kept.ids.flatten(1, 2), kept.lengths.flatten(1, 2)
        return [None] * len(part)

    with evaluating(policy.model), packed(policy, uses=limit):
        (batcher or decoding_batcher()).run(decoding_costs(sizes, beams, limit), work)
    finished = is_stop(policy.stops, ids.gather(2, (lengths[..., None] - 1).clamp(min=0))[..., 0])
    width = int(lengths.max()) if batch else 0
    if policy.stops.texts and not params.suppress_stops:
        flat = (each.flatten(0, 1) for each in (ids, lengths, finished))
        finished = end_at_texts(policy.stops, policy.tokeniser, *flat)[1].view(batch, beams)
    return Completions(ids[..., :width].clone(), lengths, finished)


@dataclass
class _Kept:
    """The best sequences so far of each prompt and group, best first."""

    worth: Tensor
    """(B, G, W) float64."""
    ids: Tensor
    """(B, G, W, T)."""
    lengths: Tensor
    """(B, G, W)."""

    def add(self, group: int, worth: Tensor, ids: Tensor, length: int) -> None:
        """Offer a group's sequences (B, N, T) that have ``length`` tokens; minus infinity is not an offer."""
        width = self.worth.shape[2]
        offers = torch.cat((self.worth[:, group], worth), dim=1)
        best, index = torch.sort(offers, dim=1, descending=True, stable=True)
        index = index[:, :width]
        lengths = torch.cat((self.lengths[:, group], torch.full_like(worth, length, dtype=torch.int64)), dim=1)
        rows = torch.cat((self.ids[:, group], ids), dim=1)
        self.worth[:, group] = best[:, :width]
        self.lengths[:, group] = lengths.gather(1, index)
        self.ids[:, group] = rows.gather(1, index[..., None].expand(-1, -1, rows.shape[2]))


def _search(policy: Policy, prompts: Prompts, params: BeamParams) -> _Kept:
    beams, groups, limit = params.beams, params.groups, params.max_new_tokens
    batch, width, device = len(prompts), beams // groups, policy.device
    strings = 0 if params.suppress_stops else len(policy.stops.texts)
    rows = decoder(policy, prompts.ids, prompts.lengths, repeats=beams, room=limit - 1)
    kept = _Kept(
        torch.full((batch, groups, width), _NEVER, dtype=torch.float64, device=device),
        torch.zeros(batch, groups, width, limit, dtype=torch.int64, device=device),
        torch.ones(batch, groups, width, dtype=torch.int64, device=device),
    )
    sums = torch.full((batch, groups, width), _NEVER, dtype=torch.float64, device=device)
    sums[..., 0] = 0  # the beams of a group start equal, so only one counts
    texts = torch.zeros(batch, groups, width, limit, dtype=torch.int64, device=device)
    first = torch.arange(batch, device=device)[:, None, None] * beams
    first = first + torch.arange(groups, device=device)[:, None] * width
    for position in range(limit):
        if params.suppress_stops:
            rows.logits[:, policy.stops.ids] = _NEVER
        logp = rows.logits.double().log_softmax(-1).view(batch, groups, width, -1)
        vocabulary = logp.shape[-1]
        chosen = torch.zeros(batch, 1, vocabulary, dtype=torch.float64, device=device)
        parents = torch.zeros(batch, groups, width, dtype=torch.int64, device=device)
        for group in range(groups):
            offers = (sums[:, group, :, None] + logp[:, group] - params.diversity_penalty * chosen).flatten(1)
            # each stop token takes at most one place of each beam, so this leaves enough that go on; a string may take
            # more, and where it takes too many, fewer beams go on
            best, index = _top(offers, min((1 + len(policy.stops.ids) + strings) * width, offers.shape[1]))
            token, parent = index % vocabulary, index // vocabulary
            grown = texts[:, group].gather(1, parent[..., None].expand(-1, -1, limit))
            grown[:, :, position] = token
            ended = is_stop(policy.stops, token)
            if strings:
                here = grown[:, :, : position + 1].flatten(0, 1)
                ended |= has_stop_text(policy.stops, policy.tokeniser, here).view(ended.shape)
            top = torch.arange(best.shape[1], device=device) < width
            kept.add(group, torch.where(ended & top, best / (position + 1), _NEVER), grown, position + 1)
            going = torch.sort(ended.to(torch.int8), dim=1, stable=True).indices[:, :width]
            sums[:, group] = best.masked_fill(ended, _NEVER).gather(1, going)
            texts[:, group] = grown.gather(1, going[..., None].expand(-1, -1, limit))
            parents[:, group] = parent.gather(1, going)
            alive = (sums[:, group] > _NEVER).double()
            chosen.scatter_add_(2, token.gather(1, going)[:, None], alive[:, None])
        done = kept.worth[..., -1] >= sums.amax(2) / (position + 1)
        sums.masked_fill_(done[..., None], _NEVER)
        if position + 1 == limit or bool(done.all()):
            break
        rows.inherit((first + parents).flatten())
        rows.step(texts[..., position].flatten())
    for group in range(groups):
        kept.add(group, sums[:, group] / (position + 1), texts[:, group], position + 1)
    return kept


def _top(offers: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the ``count`` largest of each row (B, N) and where they are, the first among equals first."""
    offers = offers.clone()
    places = []
    values = []
    for _ in range(count):
        place = offers.argmax(1, keepdim=True)
        places.append(place)
        values.append(offers.gather(1, place))
        offers.scatter_(1, place, _NEVER)
    return torch.cat(values, dim=1), torch.cat(places, dim=1)
