"""Decoding with a cache of keys and values: one prefill a prompt, any number of rows from it, rows leave as they finish."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from harness.lm import backbone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from harness.lm.policy import Policy


class _Room(DynamicLayer):
    """A layer's keys and values in memory that was set aside for the whole completion: a step copies one position."""

    def __init__(self, layer: DynamicLayer, repeats: int, room: int) -> None:
        super().__init__()
        assert layer.keys is not None
        assert layer.values is not None
        self.lazy_initialization(layer.keys, layer.values)
        self._length = layer.keys.shape[-2]
        self._keys = _spread(layer.keys, repeats, room)
        self._values = _spread(layer.values, repeats, room)
        self.keys, self.values = self._keys[:, :, : self._length], self._values[:, :, : self._length]

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Append the new positions."""
        start, self._length = self._length, self._length + key_states.shape[-2]
        self._keys[:, :, start : self._length] = key_states
        self._values[:, :, start : self._length] = value_states
        self.keys, self.values = self._keys[:, :, : self._length], self._values[:, :, : self._length]
        return self.keys, self.values

    def keep(self, holes: Tensor, movers: Tensor, rows: int) -> None:
        """Copy the rows ``movers`` over the rows ``holes`` and keep the first ``rows``."""
        for store in (self._keys, self._values):
            store[holes, :, : self._length] = store[movers, :, : self._length]
        self._keys, self._values = self._keys[:rows], self._values[:rows]
        self.keys, self.values = self._keys[:, :, : self._length], self._values[:, :, : self._length]

    def reorder(self, rows: Tensor) -> None:
        """Make row i what row ``rows[i]`` was."""
        for store in (self._keys, self._values):
            store[: len(rows), :, : self._length] = store[rows, :, : self._length]
        self._keys, self._values = self._keys[: len(rows)], self._values[: len(rows)]
        self.keys, self.values = self._keys[:, :, : self._length], self._values[:, :, : self._length]


class Decoder:
    """Rows that are decoded together. Row b * repeats + k continues prompt b."""

    def __init__(
        self, policy: Policy, prompts: Tensor, lengths: Tensor, *, repeats: int | Sequence[int], room: int
    ) -> None:
        """Prefill.

        Args:
            policy: the model; it must be in evaluation mode, without gradients.
            prompts: (B, P) int64, padded at the right end with any ids.
            lengths: (B,) int64, at least 1.
            repeats: rows a prompt.
            room: most tokens to come.
        """
        self._policy = policy
        self._model: nn.Module = policy.model
        width = int(lengths.max())
        prompts = prompts[:, :width]
        positions = torch.arange(width, device=prompts.device).expand_as(prompts)
        prompts = torch.where(positions < lengths[:, None], prompts, 0)  # padding may be no id at all
        # padding at the right end needs no mask: a causal model never looks there
        with policy.autocast():
            hidden, logits, cache = backbone.forward(
                self._model,
                input_ids=prompts,
                position_ids=positions,
                past_key_values=DynamicCache(config=self._model.config),
                use_cache=True,
            )
            rows = torch.arange(len(prompts), device=prompts.device)
            last = (
                backbone.head(self._model, hidden[rows, lengths - 1]) if logits is None else logits[rows, lengths - 1]
            )
        self.logits: Tensor = policy.restrict(last).repeat_interleave(repeats, 0)
        """(N, V): of the next token, ids without a token cut off; float32 at least."""
        self._next = lengths.repeat_interleave(repeats)[:, None]
        self._cache = DynamicCache()
        self._cache.layers = [_Room(layer, repeats, room) for layer in cache.layers]
        self._past = width
        self._mask = self._padding_mask(lengths, width, room, hidden.dtype, repeats)

    def step(self, tokens: Tensor) -> None:
        """Feed one token (N,) a row."""
        self._past += 1
        with self._policy.autocast():
            hidden, logits, _ = backbone.forward(
                self._model,
                input_ids=tokens[:, None],
                position_ids=self._next,
                attention_mask=None if self._mask is None else self._mask[..., : self._past],
                past_key_values=self._cache,
                use_cache=True,
            )
            last = backbone.head(self._model, hidden[:, -1]) if logits is None else logits[:, -1]
        self.logits = self._policy.restrict(last)
        self._next = self._next + 1

    def reorder(self, rows: Tensor) -> None:
        """Make row i what row ``rows[i]`` was."""
        for layer in self._cache.layers:
            layer.reorder(rows)
        self._next = self._next[rows]
        self.logits = self.logits[rows]
        if self._mask is not None:
            self._mask = self._mask[rows]

    def _padding_mask(self, lengths: Tensor, width: int, room: int, dtype: torch.dtype, repeats: int) -> Tensor | None:
        if int(lengths.min()) == width:
            return None
        places = torch.arange(width + room, device=lengths.device)
        hidden = (places >= lengths[:, None]) & (places < width)
        mask = torch.zeros(hidden.shape, dtype=dtype, device=lengths.device)
        return mask.masked_fill_(hidden, torch.finfo(dtype).min).repeat_interleave(repeats, 0)[:, None, None]


def _spread(states: Tensor, repeats: int, room: int) -> Tensor:
    batch, heads, length, width = states.shape
    store = states.new_empty(batch, repeats, heads, length + room, width)
    store[:, :, :, :length] = states[:, None]
    return store.view(batch * repeats, heads, length + room, width)
