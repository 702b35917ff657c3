"""Decoding on the fast way: one copy of each prompt's keys and values, however many rows continue it.

While decoding, time goes into reading weights, keys and values. So a prompt's are kept once, and behind them those that
its rows have written, one of each row for every position: all rows of a prompt ask all of these in one product, and a
mask hides from each what the others wrote.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from harness.lm.attention import KEYWORD, NAME, Settings, additive, product
from harness.lm.cuda.no_cache import NoCache
from harness.lm.cuda.sizes import PREFILL
from harness.lm.model import backbone
from harness.lm.score.trees import Forest, Tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from harness.lm.model.policy import Policy


class SharedPrefix:
    """Rows in a grid: K slots for each of B prompts, which hold N rows until some leave.

    Implements :class:`harness.lm.decode.decoder.Decoder` and :class:`harness.lm.attention.Layout`.
    """

    logits: Tensor

    def __init__(
        self, policy: Policy, prompts: Tensor, lengths: Tensor, repeats: int, room: int, *, width: int | None = None
    ) -> None:
        """Prefill; the arguments are those of :func:`harness.lm.decode.choose.decoder`, and room for longer prompts."""
        self._policy = policy
        self._lengths = lengths  # (B,): of prompts
        self._repeats, self._room = repeats, room  # K, S
        self._width = width or int(lengths.max())  # P: of the longest prompt
        self._written = 0  # positions of each row
        #: Keys (B, G, P + S K, D) and values (B, G, P + S K, E) of each layer; position s of slot k is at P + s K + k.
        self._stores: list[tuple[Tensor, Tensor]] = []
        self._slots: Tensor | None = None  # (N,): where in the grid rows are; None while each slot has one
        self._masks: dict[tuple[int, torch.dtype], Tensor] = {}
        self._windowed: dict[tuple[int, torch.dtype, int], Tensor] = {}
        cuts = list(_cut(lengths.tolist(), PREFILL.get(prompts.device.type, PREFILL["cpu"])))
        first = torch.cat([self._prefill(prompts[part], lengths[part], part.start) for part in cuts])
        self.logits = first.repeat_interleave(repeats, 0)
        self._next = lengths.repeat_interleave(repeats)  # (N,): positions of the next tokens

    def step(self, tokens: Tensor) -> None:
        """Feed each row a token (N,)."""
        with self._policy.autocast():
            states, logits, _ = backbone.forward(
                self._policy.model,
                attention=NAME,
                input_ids=tokens[:, None],
                position_ids=self._next[:, None],
                cache=NoCache(self._written),
                use_cache=True,
                **{KEYWORD: self},
            )
        self.logits = backbone.logits(self._policy, states[:, -1], None if logits is None else logits[:, -1])
        self._written += 1
        self._next = self._next + 1
        self._windowed = {}

    def select(self, rows: Tensor) -> None:
        """Keep the rows that the index ``rows`` names, in the order in which they stand; the grid shrinks to them."""
        self.logits, self._next = self.logits[rows], self._next[rows]
        slots = rows if self._slots is None else self._slots[rows]
        owners, counts = torch.unique_consecutive(slots // self._repeats, return_counts=True)
        repeats = int(counts.max()) if len(counts) else 0
        # row i moves to slot ``place`` of its prompt, whose number among those that stay is ``prompt``
        prompt = torch.arange(len(owners), device=rows.device).repeat_interleave(counts)
        place = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts).repeat_interleave(counts)
        sources = slots.new_zeros(len(owners), repeats)
        sources[prompt, place] = slots % self._repeats
        self._lengths = self._lengths[owners]
        width = int(self._lengths.max()) if len(owners) else 0
        self._stores = [
            (self._moved(keys, owners, sources, width), self._moved(values, owners, sources, width))
            for keys, values in self._stores
        ]
        self._width, self._repeats, self._masks, self._windowed = width, repeats, {}, {}
        self._slots = None if len(rows) == sources.numel() else prompt * repeats + place

    def inherit(self, rows: Tensor) -> None:
        """Give row i what row ``rows[i]`` generated."""
        self.logits = self.logits[rows]
        sources = rows.view(-1, self._repeats) % self._repeats
        owners = torch.arange(len(sources), device=rows.device)
        for store in (store for pair in self._stores for store in pair):
            own = self._own(store)
            own.copy_(own[owners[:, None], :, :, sources].permute(0, 2, 3, 1, 4))

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, settings: Settings) -> Tensor:
        """Keep keys and values (N, G, 1, D) of a position; return what the queries (N, H, 1, D) find: (N, 1, H, E)."""
        batch, repeats = len(self._lengths), self._repeats
        query, key, value = (self._spread(states[:, :, 0]) for states in (query, key, value))
        here = self._width + self._written * repeats
        end = here + repeats
        for store, new in zip(self._stores[layer], (key, value), strict=True):
            store[:, :, here:end] = new.view(batch, repeats, *new.shape[1:]).transpose(1, 2)
        keys, values = (store[:, :, :end] for store in self._stores[layer])
        mask = self._mask(query.shape[1] // key.shape[1], settings.window, end, query)
        outcome = in_rows(product(in_groups(query, keys), keys, values, settings, mask=mask), len(query))
        return outcome if self._slots is None else outcome[self._slots]

    def _new_store(self, states: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the keys and values of one more layer, whose states are (1, G, L, D)."""
        size = self._width + self._room * self._repeats
        keys, values = (each.new_empty(len(self._lengths), each.shape[1], size, each.shape[3]) for each in states)
        for store in (keys, values):
            store[:, :, : self._width] = 0  # padding is read, and must be finite
        return keys, values

    def _own(self, store: Tensor) -> Tensor:
        """(B, G, S, K, D): what rows have written."""
        batch, groups, _, size = store.shape
        return store[:, :, self._width :].view(batch, groups, self._room, self._repeats, size)[:, :, : self._written]

    def _spread(self, rows: Tensor) -> Tensor:
        """(N, …), a row each, to (B K, …), 0 where a row has left."""
        if self._slots is None:
            return rows
        grid = rows.new_zeros(len(self._lengths) * self._repeats, *rows.shape[1:])
        return grid.index_copy_(0, self._slots, rows)

    def _moved(self, store: Tensor, owners: Tensor, sources: Tensor, width: int) -> Tensor:
        """Return the keys or values of prompts ``owners``, and behind them those of their slots ``sources`` (B, K)."""
        batch, repeats = sources.shape
        moved = store.new_empty(batch, store.shape[1], width + self._room * repeats, store.shape[3])
        moved[:, :, :width] = store[:, :, :width][owners]
        own = self._own(store)
        mine = own[owners[:, None], :, :, sources]  # (B, K, G, S, D)
        moved[:, :, width : width + self._written * repeats] = mine.permute(0, 2, 3, 1, 4).flatten(2, 3)
        return moved

    def _prefill(self, prompts: Tensor, lengths: Tensor, first: int) -> Tensor:
        """Keep the keys and values of some prompts, the batch's ``first`` on; return the logits behind them."""
        owner, place = (torch.arange(prompts.shape[1], device=prompts.device) < lengths[:, None]).nonzero(as_tuple=True)
        forest = Forest(tuple(Tree(length, ()) for length in lengths.tolist()))
        layout = _Prompts(forest, self, owner + first, place)
        last = lengths.cumsum(0) - 1
        with self._policy.autocast():
            states, logits, _ = backbone.forward(
                self._policy.model,
                attention=NAME,
                input_ids=prompts[owner, place][None],
                position_ids=place[None],
                use_cache=False,
                **{KEYWORD: layout},
            )
        return backbone.logits(self._policy, states[0, last], None if logits is None else logits[0, last])

    def keep(self, layer: int, owner: Tensor, place: Tensor, states: Sequence[Tensor]) -> None:
        """Keep keys and values (1, G, L, D) of tokens that stand at ``place`` (L,) of the prompts ``owner`` (L,)."""
        while len(self._stores) <= layer:
            self._stores.append(self._new_store(states))
        for store, each in zip(self._stores[layer], states, strict=True):
            store[owner, :, place] = each[0].transpose(0, 1).to(store.dtype)

    def _mask(self, shared: int, window: int | None, end: int, like: Tensor) -> Tensor:
        """(B, 1, K R, end): what is padding, what other rows wrote, and what lies before the window."""
        if (shared, like.dtype) not in self._masks:
            places = torch.arange(self._width + self._room * self._repeats, device=like.device)
            padding = (places >= self._lengths[:, None]) & (places < self._width)
            rows = torch.arange(self._repeats, device=like.device).repeat_interleave(shared)
            others = (places >= self._width) & ((places - self._width) % self._repeats != rows[:, None])
            self._masks[shared, like.dtype] = additive(padding[:, None] | others, like)[:, None]
        mask = self._masks[shared, like.dtype][..., :end]
        if window is None or self._width + self._written < window:
            return mask
        which = (shared, like.dtype, window)
        if which not in self._windowed:
            own = torch.arange(end - self._width, device=like.device) // self._repeats
            prompts = torch.arange(self._width, device=like.device).expand(len(self._lengths), -1)
            positions = torch.cat((prompts, self._lengths[:, None] + own), 1)
            old = positions <= self._lengths[:, None] + self._written - window
            self._windowed[which] = mask.masked_fill(old[:, None, None], torch.finfo(like.dtype).min)
        return self._windowed[which]


def in_groups(query: Tensor, keys: Tensor) -> Tensor:
    """Lay queries (B K, H, D) of R heads a key together that use the same keys (B, G, M, D): (B, G, K R, D)."""
    batch, groups = keys.shape[:2]
    repeats, shared = len(query) // batch, query.shape[1] // groups
    return query.view(batch, repeats, groups, shared, -1).transpose(1, 2).flatten(2, 3)


def in_rows(outcome: Tensor, count: int) -> Tensor:
    """Return what was found for them, (B, G, K R, E), in the order of the ``count`` rows: (B K, 1, G R, E)."""
    batch, groups, _, size = outcome.shape
    apart = outcome.view(batch, groups, count // batch, -1, size).transpose(1, 2)  # (B, K, G, R, E)
    return apart.reshape(count, 1, -1, size)


class _Prompts:
    """Prompts that see themselves, and whose keys and values are kept: a :class:`harness.lm.attention.Layout`."""

    def __init__(self, forest: Forest, rows: SharedPrefix, owner: Tensor, place: Tensor) -> None:
        """Take trees that are prompts alone, and for which tokens of which prompts their keys and values are kept."""
        self._forest, self._rows, self._owner, self._place = forest, rows, owner, place

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, settings: Settings) -> Tensor:
        """Return what the forest does."""
        self._rows.keep(layer, self._owner, self._place, (key, value))
        return self._forest.attend(layer, query, key, value, settings)


def _cut(lengths: Sequence[int], most: int) -> Iterator[slice]:
    """Cut a batch of prompts into parts of at most so many tokens, or of one prompt."""
    first, total = 0, 0
    for place, length in enumerate(lengths):
        if place > first and total + length > most:
            yield slice(first, place)
            first, total = place, 0
        total += length
    yield slice(first, len(lengths))
