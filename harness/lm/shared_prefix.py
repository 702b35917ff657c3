"""Decoding over one copy of each prompt's keys and values, however many rows continue it.

Prompts of a batch lie in segments, runs of about the same length, each prefilled by one forward and padded to its
longest. A step attends to the segment's prompts for all candidates of a prompt at once, and to what each row wrote.
"""

from __future__ import annotations

from dataclasses import dataclass
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
            segment, last = self._prefill(prompts[first:stop], lengths[first:stop], first)
            self._segments.append(segment)
            logits.append(last)
        self.logits = torch.cat(logits).repeat_interleave(repeats, 0)
        self._next = lengths.repeat_interleave(repeats)
        self._grid = _Grid(self._segments[0].prefix, len(lengths), repeats, room)

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
                        cache=self._grid,
                        use_cache=True,
                        **{_KEYWORD: self},
                    )
                hidden, logits = states[:, -1], None if every is None else every[:, -1]
        self.logits = self._head(hidden, logits)
        self._grid.length += 1
        self._next = self._next + 1

    def select(self, rows: Tensor) -> None:
        """Keep the rows that the index ``rows`` names, in the order in which they stand."""
        self.logits, self._next = self.logits[rows], self._next[rows]
        owners = self._grid.select(rows, self._segments)
        if owners is not None:
            stops = [int((owners < segment.stop).sum()) for segment in self._segments]
            starts = [0, *stops[:-1]]
            self._segments = [
                segment.select(owners[start:stop], start)
                for segment, start, stop in zip(self._segments, starts, stops, strict=True)
                if stop > start
            ]

    def inherit(self, rows: Tensor) -> None:
        """Give row i what row ``rows[i]`` generated."""
        self._grid.inherit(rows)
        self.logits = self.logits[rows]

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """Implement :class:`harness.lm.layers.Attend`."""
        grid = self._grid
        grid.write(layer, key, value)
        rows, heads, width = query.shape
        groups = key.shape[1]
        share = heads // groups  # queries that use the same keys
        asked = grid.spread(query.reshape(rows, groups, share, width))
        shape = asked.shape
        asked = asked.reshape(shape[0] * groups, -1, width).contiguous()  # (B G, K share, D)
        keys, values = grid.read(layer)
        zero = asked.new_zeros(1, 1, 1)
        near = torch.baddbmm(zero, asked.view(-1, share, width), keys.transpose(1, 2), beta=0, alpha=scaling)
        near = near.view(*asked.shape[:2], -1)
        shares = []
        for segment in self._segments:
            part = slice(segment.first * groups, segment.stop * groups)
            prompt = segment.prefix[layer][0]
            far = torch.baddbmm(segment.padding, asked[part], prompt.transpose(1, 2), alpha=scaling)
            shares.append(torch.cat((far, near[part]), -1).softmax(-1).to(far.dtype))
        written = near.shape[2]
        own = torch.cat([weights[..., -written:] for weights in shares])
        mixed = torch.bmm(own.view(-1, share, written), values).view(asked.shape)
        for segment, weights in zip(self._segments, shares, strict=True):
            answer = mixed[segment.first * groups : segment.stop * groups]
            torch.baddbmm(answer, weights[..., :-written], segment.prefix[layer][1], out=answer)
        return grid.gather(mixed.view(shape)).reshape(rows, heads * width)

    def _prefill(self, prompts: Tensor, lengths: Tensor, first: int) -> tuple[_Segment, Tensor]:
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
        prefix = [(layer.keys.flatten(0, 1), layer.values.flatten(0, 1)) for layer in cache.layers]
        groups = cache.layers[0].keys.shape[1]
        padding = torch.zeros(real.shape, dtype=prefix[0][0].dtype, device=real.device)
        padding.masked_fill_(~real, torch.finfo(padding.dtype).min)
        padding = padding.repeat_interleave(groups, 0)[:, None]
        return _Segment(first, first + len(prompts), groups, prefix, padding), last


@dataclass(frozen=True)
class _Segment:
    """Some of a batch's prompts that follow one another, padded to the longest of them."""

    first: int
    stop: int
    """Their places among the batch's prompts."""
    groups: int
    prefix: list[tuple[Tensor, Tensor]]
    """Keys and values of each layer, (B G, P, D)."""
    padding: Tensor
    """(B G, 1, P) additive."""

    def select(self, owners: Tensor, first: int) -> _Segment:
        """Give each of ``owners``, prompts of the segment in order, a place of its own from ``first``."""
        heads = torch.arange(self.groups, device=owners.device)
        rows = ((owners - self.first)[:, None] * self.groups + heads).view(-1)
        prefix = [(keys[rows], values[rows]) for keys, values in self.prefix]
        return _Segment(first, first + len(owners), self.groups, prefix, self.padding[rows])


class _Grid(DynamicCache):
    """Keys and values of generated positions, with a place for every candidate of every prompt.

    A layer's lie as (B, G, K, S, D), in memory for all positions to come: beside each other for each key head, so that
    a prompt's candidates can be multiplied together.
    """

    def __init__(self, prefix: list[tuple[Tensor, Tensor]], batch: int, repeats: int, room: int) -> None:
        super().__init__()
        self.length = 0
        self._batch = batch
        self._repeats = repeats
        self._room = room
        self._places: Tensor | None = None  # (N,): where in B x K each row is; None while row i is at i
        self._like = prefix[0][0]
        self._stores: list[list[Tensor]] = [[] for _ in prefix]

    def get_seq_length(self, layer_idx: int = 0) -> int:  # noqa: ARG002  # transformers' signature
        """Return how many positions are filled."""
        return self.length

    def update(
        self,
        key_states: Tensor,
        value_states: Tensor,
        layer_idx: int,  # noqa: ARG002  # transformers' signature
        *_: Any,
        **__: Any,
    ) -> tuple[Tensor, Tensor]:
        """Return what transformers hands over: :meth:`SharedPrefix.attend` writes it down."""
        return key_states, value_states

    def write(self, layer: int, *states: Tensor) -> None:
        """Write keys and values (N, G, D) of one position."""
        stores = self._stores[layer]
        if not stores:
            shape = (self._batch, states[0].shape[1], self._repeats, self._room, states[0].shape[2])
            stores += [self._like.new_zeros(shape) for _ in states]
        for store, rows in zip(stores, states, strict=True):
            store[:, :, :, self.length] = self.spread(rows)

    def read(self, layer: int) -> list[Tensor]:
        """Return a layer's keys and values (B G K, S, D), the position that was just written included."""
        return [store.flatten(0, 2)[:, : self.length + 1] for store in self._stores[layer]]

    def spread(self, rows: Tensor) -> Tensor:
        """(N, G, …), a row each, to (B, G, K, …), which is 0 where a row has left."""
        if self._places is not None:
            grid = rows.new_zeros(self._batch * self._repeats, *rows.shape[1:])
            rows = grid.index_copy_(0, self._places, rows)
        return rows.reshape(self._batch, self._repeats, *rows.shape[1:]).transpose(1, 2)

    def gather(self, grid: Tensor) -> Tensor:
        """(B, G, K, …) to (N, G, …)."""
        rows = grid.transpose(1, 2).flatten(0, 1)
        return rows if self._places is None else rows[self._places]

    def inherit(self, rows: Tensor) -> None:
        """Give row i what row ``rows[i]`` wrote."""
        moved = (rows != torch.arange(len(rows), device=rows.device)).nonzero()[:, 0]
        into, out = self._cell(moved), self._cell(rows[moved])
        for store in (store for pair in self._stores for store in pair):
            cells = store.transpose(1, 2)[:, :, :, : self.length]
            cells[into] = cells[out]

    def select(self, rows: Tensor, segments: Sequence[_Segment]) -> Tensor | None:
        """Let the other rows leave.

        Once attending to what they leave behind costs more than a copy of what remains, each remaining row gets a
        place of its own: then the prompt of each is returned, in order.
        """
        places = rows if self._places is None else self._places[rows]
        prompts = sum((segment.stop - segment.first) * segment.padding.shape[2] for segment in segments)
        now = prompts + self._batch * self._repeats * self.length
        then = len(rows) * (prompts / self._batch + self.length)
        if then > _WORTH * now:
            self._places = places
            return None
        owners, candidates = self._cell(places)
        for pair in self._stores:
            for number, store in enumerate(pair):
                kept = store.new_zeros(len(rows), store.shape[1], 1, *store.shape[3:])
                kept[:, :, 0, : self.length] = store[owners, :, candidates, : self.length]
                pair[number] = kept
        self._batch, self._repeats, self._places = len(rows), 1, None
        return owners

    def _cell(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return rows // self._repeats, rows % self._repeats


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
