"""Decoding over one copy of each prompt's keys and values, however many rows continue it.

Prompts of a batch lie in segments, runs of about the same length, each prefilled by one forward and padded to its
longest. Behind a prompt's keys stand those that its rows have written, one of each row for every position: all rows of
a prompt ask all of them in one product, and a mask hides from each what the others wrote.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from transformers import AttentionInterface, DynamicCache

from harness.lm.model import backbone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor, nn

    from harness.lm.decode.decoder import Decoder
    from harness.lm.model.policy import Policy

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
    """Implements :class:`harness.lm.decode.decoder.Decoder` for models whose attention can be replaced."""

    logits: Tensor

    def __init__(self, policy: Policy, prompts: Tensor, lengths: Tensor, repeats: int, room: int) -> None:
        """Prefill."""
        self._policy = policy
        self._segments = []
        logits = []
        for first, stop in _cut(lengths.tolist(), prompts.device.type):
            segment, last = self._prefill(prompts[first:stop], lengths[first:stop], first, repeats, room)
            self._segments.append(segment)
            logits.append(last)
        self.logits = torch.cat(logits).repeat_interleave(repeats, 0)
        self._next = lengths.repeat_interleave(repeats)
        self._places: Tensor | None = None  # (N,): where in B x K each row is; None while row i is at i
        self._grids: list[Tensor] = []  # (B K, …) queries, keys and values, while rows have places
        self._batch, self._repeats, self._room = len(lengths), repeats, room
        self._length = 0

    def step(self, tokens: Tensor) -> None:
        """Feed each row a token (N,)."""
        with self._policy.autocast(), backbone.attending(self._policy.model, _NAME):
            states, every, _ = backbone.forward(
                self._policy.model,
                input_ids=tokens[:, None],
                position_ids=self._next[:, None],
                cache=_NoCache(self._length),
                use_cache=True,
                **{_KEYWORD: self},
            )
            self.logits = backbone.logits(self._policy, states[:, -1], None if every is None else every[:, -1])
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
        self._grids = []

    def inherit(self, rows: Tensor) -> None:
        """Give row i what row ``rows[i]`` generated."""
        self.logits = self.logits[rows]
        sources = rows.view(self._batch, self._repeats) % self._repeats
        for segment in self._segments:
            segment.inherit(sources[segment.first : segment.first + segment.count], self._length)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """Return what the queries of a position find."""
        places = self._places
        states = (query, key, value) if places is None else self._spread(places, query, key, value)
        if len(self._segments) == 1:
            answers = self._segments[0].attend(layer, self._length, states, scaling)
        else:
            sizes = [segment.count * self._repeats for segment in self._segments]
            parts = zip(*(rows.split_with_sizes(sizes) for rows in states), strict=True)
            found = [
                segment.attend(layer, self._length, part, scaling)
                for segment, part in zip(self._segments, parts, strict=True)
            ]
            answers = torch.cat(found)
        return answers if places is None else answers.index_select(0, places)

    def _spread(self, places: Tensor, *states: Tensor) -> Sequence[Tensor]:
        """(N, …), a row each, to (B K, …), which is anything finite where a row has left: nobody reads that."""
        if not self._grids:
            self._grids = [rows.new_zeros(self._batch * self._repeats, *rows.shape[1:]) for rows in states]
        for grid, rows in zip(self._grids, states, strict=True):
            grid.index_copy_(0, places, rows)
        return self._grids

    def _prefill(
        self, prompts: Tensor, lengths: Tensor, first: int, repeats: int, room: int
    ) -> tuple[_Segment, Tensor]:
        width = int(lengths.max())
        positions = torch.arange(width, device=prompts.device).expand(len(prompts), width)
        real = positions < lengths[:, None]
        ids = torch.where(real, prompts[:, :width], 0)  # padding may be no id at all
        last = torch.arange(len(prompts), device=prompts.device) * width + lengths - 1
        with self._policy.autocast():
            states, every, cache = backbone.forward(
                self._policy.model,
                input_ids=ids,
                position_ids=positions,
                cache=DynamicCache(config=self._policy.model.config),
                use_cache=True,
            )
            every = None if every is None else every.flatten(0, 1)[last]
            logits = backbone.logits(self._policy, states.flatten(0, 1)[last], every)
            written: list[Any] = [(layer.keys, layer.values) for layer in cache.layers]
        stores = [(_with_room(keys, repeats * room), _with_room(values, repeats * room)) for keys, values in written]
        return _Segment(first, width, repeats, stores, ~real), logits


def _with_room(states: Tensor, more: int) -> Tensor:
    """Return keys or values (B, G, P, D) with room for ``more`` positions, to be written before they are read."""
    batch, groups, width, size = states.shape
    store = states.new_empty(batch, groups, width + more, size)
    store[:, :, :width] = states
    return store


class _Segment:
    """Some of a batch's prompts that follow one another, padded to the longest of them, and what continues them."""

    def __init__(
        self, first: int, width: int, repeats: int, stores: list[tuple[Tensor, Tensor]], hidden: Tensor
    ) -> None:
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
        self._stores = stores
        self._hidden = hidden
        self._mask: Tensor | None = None

    def attend(self, layer: int, length: int, states: Sequence[Tensor], scaling: float) -> Tensor:
        """Keep keys and values of a position; return what the queries find.

        Args:
            layer: whose.
            length: positions that are written already.
            states: queries (B K, H, D), keys and values (B K, G, D); rows of a prompt follow one another.
            scaling: of the products of queries and keys.

        Returns:
            (B K, H x D).
        """
        query, key, value = states
        rows, heads, size = query.shape
        groups, repeats = key.shape[1], self.repeats
        here = self.width + length * repeats
        end = here + repeats
        stores = self._stores[layer]
        for store, new in zip(stores, (key, value), strict=True):
            store.narrow(2, here, repeats).copy_(new.view(-1, repeats, groups, size).transpose(1, 2))
        keys, values = (store.flatten(0, 1).narrow(1, 0, end) for store in stores)
        # (B K, G R, D) to (B G, K R, D): queries that use the same keys lie together
        asked = query.view(-1, repeats, groups, heads // groups, size).transpose(1, 2).reshape(len(keys), -1, size)
        scores = torch.baddbmm(self._additive(asked).narrow(2, 0, end), asked, keys.transpose(1, 2), alpha=scaling)
        found = torch.bmm(scores.softmax(-1).to(values.dtype), values)
        return found.view(-1, groups, repeats, heads // groups * size).transpose(1, 2).reshape(rows, heads * size)

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
        end = self.width + room

        def kept(store: Tensor) -> Tensor:
            if self.repeats == 1:
                return store.index_select(0, mine)
            own = store.new_empty(len(mine), store.shape[1], end, store.shape[3])
            own[:, :, : self.width] = store[:, :, : self.width].index_select(0, mine)
            written = store[:, :, self.width :].view(*store.shape[:2], -1, self.repeats, store.shape[3])
            own[:, :, self.width : self.width + length] = written[:, :, :length][mine, :, :, candidates]
            return own

        stores = [(kept(keys), kept(values)) for keys, values in self._stores]
        return _Segment(first, self.width, 1, stores, self._hidden[mine])

    def _additive(self, asked: Tensor) -> Tensor:
        """Return the mask of all positions to come, (B G, K R, P + S K): padding, and what other rows wrote."""
        if self._mask is None:
            keys = self._stores[0][0]
            rows = torch.arange(self.repeats, device=keys.device).repeat_interleave(asked.shape[1] // self.repeats)
            others = torch.arange(keys.shape[2] - self.width, device=keys.device) % self.repeats != rows[:, None]
            hidden = torch.cat((self._hidden[:, None].expand(-1, len(rows), -1), others.expand(self.count, -1, -1)), -1)
            mask = torch.zeros(hidden.shape, dtype=keys.dtype, device=keys.device)
            mask.masked_fill_(hidden, torch.finfo(mask.dtype).min)
            self._mask = mask.repeat_interleave(keys.shape[1], 0)
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


def probe(policy: Policy, make: Callable[..., Decoder] = SharedPrefix, prompts: tuple[int, int] = (3, 2)) -> bool:
    """Try on a toy that rows of a decoder that ``make`` makes get the logits of whole sequences.

    Args:
        policy: the model.
        make: called as :class:`SharedPrefix` is.
        prompts: tokens of the two prompts.
    """
    width = max(prompts) + 2
    ids = torch.arange(2, 2 + 2 * width, device=policy.device).view(2, width) % policy.vocab_size
    lengths = torch.tensor(prompts, device=policy.device)
    tail = ids[:, -2:].repeat_interleave(2, 0)
    tail[1::2] = tail[1::2].flip(1)
    rows = make(policy, ids, lengths, 2, 2)
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
