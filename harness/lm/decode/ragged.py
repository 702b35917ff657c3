"""Decoding with a kernel of our own: nothing is padded or masked, and rows leave without a copy.

Prompts lie one behind the other, each kept once, and every row has its own positions beside it. Of the same queries,
keys and values a row's attention makes the same to the bit, whatever else attends in its batch and with any number of
threads. Its logits agree to rounding only: the products before and after attention are BLAS's.
"""

from __future__ import annotations

from ctypes import byref
from typing import TYPE_CHECKING

import torch

from harness.lm.decode import prefix as shared_prefix
from harness.lm.decode.head import Head
from harness.lm.layers import walk_of
from harness.lm.model import backbone
from harness.lm.modules import Modules
from harness.lm.native.library import TILE, States, kernels, lean, tiles, width
from harness.lm.score.trees import Forest, Tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from harness.lm.model.policy import Policy

#: Tokens of one prefill: the activations of more no longer fit a processor's caches.
_PREFILL = 1 << 13


def takes(policy: Policy) -> bool:
    """Tell whether prompts of ``policy`` can be continued this way."""
    parts = backbone.split(policy.model)
    weight = next(policy.model.parameters())
    return (
        parts is not None
        and policy.dtype in {"float32", "float64"}
        and backbone.attention(policy.model) == "sdpa"
        and kernels(weight) is not None
        and walk_of(parts[0]) is not None
    )


class Ragged:
    """Implements :class:`harness.lm.decode.decoder.Decoder` for models of which :func:`takes` is true."""

    logits: Tensor

    def __init__(self, policy: Policy, prompts: Tensor, lengths: Tensor, repeats: int, room: int) -> None:
        """Prefill; the arguments are those of :func:`harness.lm.decode.decoder.decoder`."""
        parts = backbone.split(policy.model)
        walk = None if parts is None else walk_of(parts[0], Modules(policy, often=True))
        assert walk is not None
        self._walk, self._head = walk, Head(policy)
        self._lengths, self._repeats, self._room = lengths.tolist(), repeats, room
        self._layers: list[_Layer] = []
        logits = [
            self._prefill(prompts[first:stop], self._lengths[first:stop], first) for first, stop in _cut(self._lengths)
        ]
        self.logits = torch.cat(logits).repeat_interleave(repeats, 0)
        self._next = lengths.repeat_interleave(repeats)
        self._written = 0
        self._slots = torch.arange(len(self._next))
        self._table = _table(self._lengths, [repeats] * len(lengths))

    def step(self, tokens: Tensor) -> None:
        """Feed each row a token (N,)."""
        hidden = self._walk(tokens, self._next, self._attend)
        self.logits = self._head(hidden, None)
        self._written += 1
        self._next = self._next + 1

    def select(self, rows: Tensor) -> None:
        """Keep the rows that the index ``rows`` names, in the order in which they stand."""
        self.logits, self._next, self._slots = self.logits[rows], self._next[rows], self._slots[rows]
        owners = (self._slots // self._repeats).bincount(minlength=len(self._lengths))
        self._table = _table(self._lengths, owners.tolist())

    def inherit(self, rows: Tensor) -> None:
        """Give row i what row ``rows[i]`` generated."""
        self.logits = self.logits[rows]
        for layer in self._layers:
            layer.own_keys, layer.own_values = layer.own_keys[rows], layer.own_values[rows]

    def _attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """Implement :class:`harness.lm.layers.Attend`."""
        rows, heads, size = query.shape
        query, key, value = lean(query), lean(key), lean(value)
        found = query.new_empty(rows, heads * size)
        kept = self._layers[layer]
        kernels(query).attend_on(
            torch.get_num_threads(),
            heads,
            key.shape[1],
            size,
            scaling,
            len(self._table),
            self._table.data_ptr(),
            kept.keys.data_ptr(),
            kept.values.data_ptr(),
            self._slots.data_ptr(),
            self._written,
            self._room,
            kept.own_keys.data_ptr(),
            kept.own_values.data_ptr(),
            byref(States.of(query)),
            byref(States.of(key)),
            byref(States.of(value)),
            found.data_ptr(),
        )
        return found

    def _prefill(self, prompts: Tensor, lengths: Sequence[int], first: int) -> Tensor:
        """Keep the keys and values of some prompts, the batch's ``first`` on; return the logits behind them."""
        forest = Forest(tuple(Tree(length, ()) for length in lengths))
        ids = torch.cat([row[:length] for row, length in zip(prompts, lengths, strict=True)])
        positions = torch.cat([torch.arange(length) for length in lengths])
        table = _table(lengths, [1] * len(lengths))

        def attend(layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
            if layer == len(self._layers):
                rows = len(self._lengths) * self._repeats
                self._layers.append(_Layer(key, self._lengths, rows, self._room))
            self._layers[layer].keep(table, key, value, first)
            return forest(layer, query, key, value, scaling)

        return self._head(self._walk(ids, positions, attend, wanted=forest.predicting(ids.device)), None)


class _Layer:
    """Keys and values of a layer, in the order in which ``kernels.c`` reads them."""

    def __init__(self, like: Tensor, lengths: Sequence[int], rows: int, room: int) -> None:
        """Make room for those of prompts, and for ``room`` positions of each row; ``like`` is some keys (N, G, D)."""
        _, groups, size = like.shape
        self._lengths = lengths
        self.keys = like.new_empty(sum(map(tiles, lengths)), groups, size, TILE)
        self.values = like.new_empty(sum(lengths), groups, width(like))
        self.own_keys = like.new_empty(rows, groups, tiles(room), size, TILE)
        self.own_values = like.new_empty(rows, groups, room, width(like))

    def keep(self, table: Tensor, key: Tensor, value: Tensor, first: int) -> None:
        """Keep those (N, G, D) of the prompts in ``table``, which are the batch's ``first`` on."""
        key, value = lean(key), lean(value)
        kernels(key).keep_prompts(
            torch.get_num_threads(),
            key.shape[1],
            key.shape[2],
            len(table),
            table.data_ptr(),
            byref(States.of(key)),
            byref(States.of(value)),
            self.keys[sum(map(tiles, self._lengths[:first])) :].data_ptr(),
            self.values[sum(self._lengths[:first]) :].data_ptr(),
        )


def _table(lengths: Sequence[int], rows: Sequence[int]) -> Tensor:
    """Return what the kernel needs to know of each prompt, (B, 5): of those that ``rows`` (B) rows continue.

    That is where its tiles of keys and its rows of values begin, its tokens, the first row, and how many.
    """
    table: list[tuple[int, ...]] = []
    tile = token = first = 0
    for length, count in zip(lengths, rows, strict=True):
        if count:
            table.append((tile, token, length, first, count))
        tile, token, first = tile + tiles(length), token + length, first + count
    return torch.tensor(table)


def _cut(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Cut a batch of prompts into parts that are prefilled at once."""
    first, total = 0, 0
    for place, length in enumerate(lengths):
        if place > first and total + length > _PREFILL:
            yield first, place
            first, total = place, 0
        total += length
    yield first, len(lengths)


def probe(policy: Policy) -> bool:
    """Try on a toy that rows which continue prompts get the logits of whole sequences."""
    return shared_prefix.probe(policy, Ragged)
