"""Decoding on the general way: transformers' own cache, copied for every row, as its ``generate`` keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import DynamicCache

from harness.lm.model import backbone

if TYPE_CHECKING:
    from torch import Tensor

    from harness.lm.model.policy import Policy


class Copied:
    """Rows under left padding and a mask. Implements :class:`harness.lm.decode.decoder.Decoder`."""

    logits: Tensor

    def __init__(self, policy: Policy, prompts: Tensor, lengths: Tensor, repeats: int, room: int = 0) -> None:  # noqa: ARG002  # a cache that grows
        """Prefill; the arguments are those of :func:`harness.lm.decode.choose.decoder`."""
        self._policy = policy
        width = int(lengths.max())
        places = torch.arange(width, device=prompts.device)
        behind = width - lengths[:, None]
        real = places >= behind
        #: (N, L): 1 where a row has a token; None without padding, where some models (Mamba) want none while decoding.
        self._mask = None if bool(real.all()) else real.long()
        self._cache: Any = DynamicCache(config=backbone.config_of(policy.model))
        self._forward(
            prompts.gather(1, (places - behind).clamp(min=0)).masked_fill(~real, 0), (places - behind).clamp(min=0)
        )
        self._next = lengths[:, None]
        self.select(torch.arange(len(prompts), device=prompts.device).repeat_interleave(repeats))

    def step(self, tokens: Tensor) -> None:
        """Feed each row a token (N,)."""
        if self._mask is not None:
            self._mask = torch.nn.functional.pad(self._mask, (0, 1), value=1)
        self._forward(tokens[:, None], self._next)
        self._next = self._next + 1

    def select(self, rows: Tensor) -> None:
        """Keep the rows that the index ``rows`` names."""
        self._cache.reorder_cache(rows)
        self._next, self.logits = self._next[rows], self.logits[rows]
        self._mask = None if self._mask is None else self._mask[rows]

    def inherit(self, rows: Tensor) -> None:
        """Give row i what row ``rows[i]`` generated."""
        self.select(rows)

    def _forward(self, ids: Tensor, positions: Tensor) -> None:
        with self._policy.autocast():
            hidden, logits, _ = backbone.forward(
                self._policy.model,
                input_ids=ids,
                position_ids=positions,
                attention_mask=self._mask,
                cache=self._cache,
                use_cache=True,
            )
        self.logits = backbone.logits(self._policy, hidden[:, -1], None if logits is None else logits[:, -1])


class Apart:
    """The rows of each prompt by themselves, for models that take padding at the left for text.

    So do those that number positions from the left end of a row, whatever the mask says (BART's decoder), and those
    that sum up what they read (Mamba). Implements :class:`harness.lm.decode.decoder.Decoder`.
    """

    def __init__(self, policy: Policy, prompts: Tensor, lengths: Tensor, repeats: int, room: int) -> None:
        """Prefill; the arguments are those of :func:`harness.lm.decode.choose.decoder`."""
        each = [torch.tensor([place], device=prompts.device) for place in range(len(prompts))]
        self._parts = [Copied(policy, prompts[place], lengths[place], repeats, room) for place in each]
        self.logits = torch.cat([part.logits for part in self._parts])

    def step(self, tokens: Tensor) -> None:
        """Feed each row a token (N,)."""
        sizes = [len(part.logits) for part in self._parts]
        for part, some in zip(self._parts, tokens.split_with_sizes(sizes), strict=True):
            part.step(some)
        self._gather()

    def select(self, rows: Tensor) -> None:
        """Keep the rows that the index ``rows`` names."""
        each = self._split(rows)
        for part, some in zip(self._parts, each, strict=True):
            if len(some):
                part.select(some)
        self._parts = [part for part, some in zip(self._parts, each, strict=True) if len(some)]
        self._gather()

    def inherit(self, rows: Tensor) -> None:
        """Give row i what row ``rows[i]`` generated."""
        for part, some in zip(self._parts, self._split(rows), strict=True):
            part.inherit(some)
        self._gather()

    def _gather(self) -> None:
        self.logits = torch.cat([part.logits for part in self._parts]) if self._parts else self.logits[:0]

    def _split(self, rows: Tensor) -> list[Tensor]:
        """Return each prompt's part of an index in which prompts come in their order, counted from its first row."""
        parts, first = [], 0
        for part in self._parts:
            stop = first + len(part.logits)
            parts.append(rows[(rows >= first) & (rows < stop)] - first)
            first = stop
        return parts
