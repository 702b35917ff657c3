"""Decoding over one copy of each prompt's keys and values, however many rows continue it.

Prompts of a batch lie in segments, runs of about the same length, each prefilled by one forward and padded to its
longest. Behind a prompt's keys stand those that its rows have written, one of each row for every position: all rows of
a prompt ask all of them in one product, and a mask hides from each what the others wrote.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from transformers import AttentionInterface, DynamicCache

from harness.lm import backbone
from harness.lm.head import Head
from harness.lm.layers import walk_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor, nn

    from harness.lm.policy import Policy

#: The name under which transformers knows :func:`_attend`.
_NAME = "harness_shared_prefix"
#: The keyword by which it gets the :class:`SharedPrefix`.
_KEYWORD = "harness_rows"
#: Positions of one prefill: more do not help a processor, and their activations no longer fit its caches.
_PREFILL = {"cpu": 1 << 13, "cuda": 1 << 17}
#: Share of what attention reads now that remaining rows may read, if giving each its own copy is to be worth it.
_WORTH = 0.75
#: Padded positions that a segment may have: about what another segment costs at each layer of each step.
_PADDED = {"cpu": 1 << 9, "cuda": 1 << 14}


class SharedPrefix:
    """Implements :class:`harness.lm.decoding.Decoder` for models whose attention can be replaced."""

    logits: Tensor

    def __init__(
        self, policy: Policy, prompts: Tensor, lengths: Tensor, repeats: int, room: int, *, walk: bool = True
    ) -> None:
        """Prefill; ``walk`` says whether steps may go through :mod:`harness.lm.layers`."""
        self._policy = policy
        parts = backbone.split(policy.model)
        self._body = None if parts is None else parts[0]
        self._walk = walk_of(self._body) if walk and self._body is not None else None
        self._head = Head(policy)
        self._segments = []
        logits = []
        for first, stop in _cut(lengths.tolist(), prompts.device.type):
            segment, last = self._prefill(prompts[first:stop], lengths[first:stop], first, repeats, room)
            self._segments.append(segment)
            logits.append(last)
        self.logits = torch.cat(logits).repeat_interleave(repeats, 0)
        self._next = lengths.repeat_interleave(repeats)
        self._places: Tensor | None = None  # (N,): where in B x K each row is; None while row i is at i
        self._batch, self._repeats, self._room = len(lengths), repeats, room
        self._length = 0

    def step(self, tokens: Tensor) -> None:
        """Feed each row a token (N,)."""
        logits = None
        with self._policy.autocast():
            if self._walk is not None:
                hidden = self._walk(self._body, tokens, self._next, self.attend)
            else:
                with backbone.attending(self._policy.model, _NAME):
                    states, every, _ = backbone.forward(
                        self._policy.model,
                        input_ids=tokens[:, None],
                        position_ids=self._next[:, None],
                        cache=_NoCache(self._length),
                        use_cache=True,
                        **{_KEYWORD: self},
                    )
                hidden, logits = states[:, -1], None if every is None else every[:, -1]
        self.logits = self._head(hidden, logits)
        self._length += 1
        self._next = self._next + 1

    def select(self, rows: Tensor) -> None:
        """Keep the rows that the index ``rows`` names, in the order in which they stand.

        Once attending to what the others leave behind costs more than a copy of what remains, each row that remains
        gets a copy of its prompt of its own.
        """
        self.logits, self._next = self.logits[rows], self._next[rows]
        places = rows if self._places is None else self._places[rows]
        prompts = sum(segment.count * segment.width for segment in self._segments)
        now = prompts + self._batch * self._repeats * self._length
        then = len(rows) * (prompts / self._batch + self._length)
        if then > _WORTH * now:
            self._places = places
            return
        owners, candidates = places // self._repeats, places % self._repeats
        segments, first = [], 0
        for segment in self._segments:
            stop = int((owners < segment.first + segment.count).sum())
            if stop > first:
                mine = slice(first, stop)
                segments.append(segment.part(owners[mine], candidates[mine], first, self._length, self._room))
            first = stop
        self._segments = segments
        self._batch, self._repeats, self._places = len(rows), 1, None

    def inherit(self, rows: Tensor) -> None:
        """Give row i what row ``rows[i]`` generated."""
        self.logits = self.logits[rows]
        sources = rows.view(self._batch, self._repeats) % self._repeats
        for segment in self._segments:
            segment.inherit(sources[segment.first : segment.first + segment.count], self._length)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """Implement :class:`harness.lm.layers.Attend`."""
        rows, heads, width = query.shape
        groups = key.shape[1]
        share = heads // groups  # queries that use the same keys
        asked = self._spread(query.reshape(rows, groups, share, width))
        keys, values = self._spread(key), self._spread(value)
        found = []
        for segment in self._segments:
            own = segment.places
            found.append(segment.attend(layer, self._length, asked[own], keys[own], values[own], scaling))
        answers = (found[0] if len(found) == 1 else torch.cat(found)).transpose(1, 2).flatten(0, 1)
        return (answers if self._places is None else answers[self._places]).reshape(rows, heads * width)

    def _spread(self, rows: Tensor) -> Tensor:
        """(N, G, …), a row each, to (B, G, K, …), which is 0 where a row has left."""
        if self._places is not None:
            grid = rows.new_zeros(self._batch * self._repeats, *rows.shape[1:])
            rows = grid.index_copy_(0, self._places, rows)
        return rows.reshape(self._batch, self._repeats, *rows.shape[1:]).transpose(1, 2)

    def _prefill(
        self, prompts: Tensor, lengths: Tensor, first: int, repeats: int, room: int
    ) -> tuple[_Segment, Tensor]:
        width = int(lengths.max())
        positions = torch.arange(width, device=prompts.device).expand(len(prompts), width)
        real = positions < lengths[:, None]
        # padding at the right end needs no mask here: what is real never looks there
        with self._policy.autocast():
            hidden, logits, cache = backbone.forward(
                self._policy.model,
                input_ids=torch.where(real, prompts[:, :width], 0),  # padding may be no id at all
                position_ids=positions,
                cache=DynamicCache(config=self._policy.model.config),
                use_cache=True,
            )
        index = torch.arange(len(prompts), device=prompts.device)
        last = self._head(hidden[index, lengths - 1], None if logits is None else logits[index, lengths - 1])
        stores = [
            tuple(torch.nn.functional.pad(states, (0, 0, 0, repeats * room)) for states in (layer.keys, layer.values))
            for layer in cache.layers
        ]
        return _Segment(first, width, repeats, stores, ~real), last


class _Segment:
    """Some of a batch's prompts that follow one another, padded to the longest of them, and what continues them."""

    def __init__(self, first: int, width: int, repeats: int, stores: list[tuple[Tensor, ...]], hidden: Tensor) -> None:
        """Take prompts whose first is the batch's ``first``.

        Args:
            first: the place of the first prompt in the batch.
            width: P, positions of the longest prompt.
            repeats: K, rows of each prompt.
            stores: keys and values of each layer, (B, G, P + S x K, D); position s of row k is at P + s K + k.
            hidden: (B, P) bool, the padding.
        """
        self.first, self.width, self.repeats = first, width, repeats
        self.count = len(hidden)
        self.places = slice(first, first + self.count)
        self._stores = stores
        self._hidden = hidden
        self._mask: Tensor | None = None

    def attend(self, layer: int, length: int, asked: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """Keep keys and values (B, G, K, D) of position ``length``; return what the queries (B, G, K, R, D) find."""
        here = self.width + length * self.repeats
        end = here + self.repeats
        stores = self._stores[layer]
        for store, states in zip(stores, (key, value), strict=True):
            store[:, :, here:end] = states
        keys, values = (store.flatten(0, 1)[:, :end] for store in stores)
        queries = asked.reshape(len(keys), -1, asked.shape[-1])  # (B G, K R, D)
        scores = torch.baddbmm(self._additive(asked)[..., :end], queries, keys.transpose(1, 2), alpha=scaling)
        return torch.bmm(scores.softmax(-1).to(values.dtype), values).view(asked.shape)

    def inherit(self, sources: Tensor, length: int) -> None:
        """Give each row what row ``sources`` (B, K) of its prompt wrote."""
        end = self.width + length * self.repeats
        index = sources[:, None, None, :, None]
        for store in (store for pair in self._stores for store in pair):
            written = store[:, :, self.width : end]
            written = written.view(*store.shape[:2], length, self.repeats, store.shape[3])
            written.copy_(written.gather(3, index.expand_as(written)))

    def part(self, owners: Tensor, candidates: Tensor, first: int, length: int, room: int) -> _Segment:
        """Return the rows ``candidates`` of the prompts ``owners`` alone, each with a copy of its prompt."""
        mine = owners - self.first
        written = torch.arange(length, device=owners.device) * self.repeats + self.width + candidates[:, None]
        prompt = torch.arange(self.width, device=owners.device).expand(len(owners), -1)
        index = torch.cat((prompt, written), 1)
        stores = []
        for pair in self._stores:
            kept = []
            for store in pair:
                new = store.new_zeros(len(owners), store.shape[1], self.width + room, store.shape[3])
                new[:, :, : index.shape[1]] = store[mine[:, None], :, index].transpose(1, 2)
                kept.append(new)
            stores.append(tuple(kept))
        return _Segment(first, self.width, 1, stores, self._hidden[mine])

    def _additive(self, asked: Tensor) -> Tensor:
        """Return the mask of all positions to come, (B G, K R, P + S K): padding, and what other rows wrote."""
        if self._mask is None:
            batch, groups, repeats, share, _ = asked.shape
            written = self._stores[0][0].shape[2] - self.width
            rows = torch.arange(repeats, device=asked.device).repeat_interleave(share)
            others = torch.arange(written, device=asked.device) % repeats != rows[:, None]
            hidden = torch.cat(
                (
                    self._hidden[:, None].expand(-1, repeats * share, -1),
                    others.expand(batch, -1, -1),
                ),
                -1,
            )
            mask = torch.zeros(hidden.shape, dtype=self._stores[0][0].dtype, device=asked.device)
            mask.masked_fill_(hidden, torch.finfo(mask.dtype).min)
            self._mask = mask.repeat_interleave(groups, 0)
        return self._mask


class _NoCache(DynamicCache):
    """Tells transformers how many positions are written, and keeps none: :class:`SharedPrefix` does."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self._length = length

    def get_seq_length(self, layer_idx: int = 0) -> int:  # noqa: ARG002  # transformers' signature
        """Return how many positions are written."""
        return self._length

    def update(
        self,
        key_states: Tensor,
        value_states: Tensor,
        layer_idx: int,  # noqa: ARG002  # transformers' signature
        *_: Any,
        **__: Any,
    ) -> tuple[Tensor, Tensor]:
        """Return what transformers hands over."""
        return key_states, value_states


def probe(policy: Policy) -> bool:
    """Try on a toy that rows over a shared prefix get the logits of whole sequences."""
    ids = torch.arange(2, 12, device=policy.device).view(2, 5) % policy.vocab_size
    lengths = torch.tensor([3, 2], device=policy.device)
    tail = ids[:, 3:].repeat_interleave(2, 0)
    tail[1::2] = tail[1::2].flip(1)
    rows = SharedPrefix(policy, ids, lengths, 2, 2)
    for tokens in tail.unbind(1):
        rows.step(tokens)
    rows.select(torch.tensor([1, 3], device=policy.device))
    expected = []
    for prompt, row in ((0, 1), (1, 3)):
        whole = torch.cat((ids[prompt, : lengths[prompt]], tail[row]))[None]
        with policy.autocast():
            logits = policy.model(input_ids=whole, use_cache=False).logits
        expected.append(policy.restrict(logits[:, -1]))
    return backbone.alike(rows.logits, torch.cat(expected))


def _cut(lengths: Sequence[int], device: str) -> Iterator[tuple[int, int]]:
    """Cut a batch into segments with little padding, each no larger than one prefill may be."""
    most, waste = _PREFILL.get(device, _PREFILL["cpu"]), _PADDED.get(device, _PADDED["cpu"])
    first, longest, total = 0, 0, 0
    for place, length in enumerate(lengths):
        count, width = place - first + 1, max(longest, length)
        if count > 1 and (count * width > most or count * width - total - length > waste):
            yield first, place
            first, longest, total = place, 0, 0
        longest, total = max(longest, length), total + length
    yield first, len(lengths)


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001  # nothing generated is masked
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers calls it: (N, H, 1, D) to (N, 1, H, D)."""
    rows: SharedPrefix = options[_KEYWORD]
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    attended = rows.attend(cast("int", module.layer_idx), query[:, :, 0], key[:, :, 0], value[:, :, 0], scaling)
    return attended.view(len(query), 1, query.shape[1], -1), None


AttentionInterface.register(_NAME, _attend)
