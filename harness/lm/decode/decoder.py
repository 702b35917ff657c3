"""Decoding with a cache of keys and values: one prefill a prompt, any number of rows from it, and rows that leave.

While decoding, time goes into reading keys and values. So a prompt's are kept once, and all rows that continue it
attend to that one copy, each with its own few generated positions beside it. Models whose attention is of another kind
get what transformers' own generation does: left padding, a mask, and a copy of the cache for every row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import torch
from transformers import DynamicCache

from harness.errors import InputError
from harness.lm.decode.prefix import SharedPrefix, probe
from harness.lm.model import backbone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from harness.api import Prompts
    from harness.lm.model.policy import Policy


class Decoder(Protocol):
    """Rows that are decoded together; row ``b * repeats + k`` continues prompt b until rows leave."""

    logits: Tensor
    """(N, V): of each row's next token, over the ids that have a token."""

    def step(self, tokens: Tensor) -> None:
        """Feed each row a token (N,), which makes new :attr:`logits`."""

    def select(self, rows: Tensor) -> None:
        """Keep the rows that the index ``rows`` names, in the order in which they stand, each once."""

    def inherit(self, rows: Tensor) -> None:
        """Give row i what row ``rows[i]``, of the same prompt, generated; before any row has left."""


def decoder(policy: Policy, prompts: Tensor, lengths: Tensor, *, repeats: int, room: int) -> Decoder:
    """Prefill.

    Args:
        policy: the model; in evaluation mode, and gradients are off.
        prompts: (B, P) int64, padded at the right end with anything.
        lengths: (B,) int64, at least 1.
        repeats: rows a prompt.
        room: most tokens that :meth:`Decoder.step` will be given a row.
    """
    if backbone.able(policy.model, "shared prefix", lambda: probe(policy.without_autocast())):
        return SharedPrefix(policy, prompts, lengths, repeats, room)
    together = backbone.holds(
        policy.model,
        "left padding",
        lambda: probe(policy.without_autocast(), _Copied, _uneven(policy)),
        "prompts are decoded one at a time, which is slower",
    )
    return (_Copied if together else _Apart)(policy, prompts, lengths, repeats, room)


def check_prompts(policy: Policy, prompts: Prompts, max_new_tokens: int, ids: Sequence[str] | None = None) -> None:
    """Raise InputError where a prompt is empty, or leaves less context than ``max_new_tokens``."""
    if len(prompts) == 0:
        return
    least, most = int(prompts.lengths.argmin()), int(prompts.lengths.argmax())
    if int(prompts.lengths[least]) < 1:
        raise InputError(
            "a prompt has no tokens", where=None if ids is None else f"example {ids[least]}", expected="at least one"
        )
    policy.check_fits(int(prompts.lengths[most]), max_new_tokens, where=None if ids is None else f"example {ids[most]}")


def _uneven(policy: Policy) -> tuple[int, int]:
    """Return lengths of two prompts, so far apart that a model which takes padding for text shows it."""
    room = 15 if policy.positions_limit is None else policy.positions_limit
    return max(2, min(13, room - 2)), 1


class _Copied:
    """Every row with a cache of its own, as transformers' ``generate`` keeps it."""

    def __init__(self, policy: Policy, prompts: Tensor, lengths: Tensor, repeats: int, room: int = 0) -> None:  # noqa: ARG002  # a cache that grows
        self._policy = policy
        width = int(lengths.max())
        places = torch.arange(width, device=prompts.device)
        behind = width - lengths[:, None]
        real = places >= behind
        self._mask = real.long()
        hidden, logits, self._cache = _run(
            policy,
            input_ids=prompts.gather(1, (places - behind).clamp(min=0)).masked_fill(~real, 0),
            position_ids=(places - behind).clamp(min=0),
            attention_mask=self._mask,
            cache=DynamicCache(config=policy.model.config),
            use_cache=True,
        )
        self.logits = backbone.logits(self._policy, hidden[:, -1], None if logits is None else logits[:, -1])
        self._next = lengths[:, None]
        self.select(torch.arange(len(prompts), device=prompts.device).repeat_interleave(repeats))

    def step(self, tokens: Tensor) -> None:
        self._mask = torch.nn.functional.pad(self._mask, (0, 1), value=1)
        hidden, logits, _ = _run(
            self._policy,
            input_ids=tokens[:, None],
            position_ids=self._next,
            attention_mask=self._mask,
            cache=self._cache,
            use_cache=True,
        )
        self.logits = backbone.logits(self._policy, hidden[:, -1], None if logits is None else logits[:, -1])
        self._next = self._next + 1

    def select(self, rows: Tensor) -> None:
        self._cache.batch_select_indices(rows)
        self._mask, self._next, self.logits = self._mask[rows], self._next[rows], self.logits[rows]

    def inherit(self, rows: Tensor) -> None:
        self.select(rows)


class _Apart:
    """The rows of each prompt by themselves, for models that take padding at the left for text.

    So do those that number positions from the left end of a row, whatever the mask says (BART's decoder).
    """

    def __init__(self, policy: Policy, prompts: Tensor, lengths: Tensor, repeats: int, room: int) -> None:
        each = [torch.tensor([place], device=prompts.device) for place in range(len(prompts))]
        self._parts = [_Copied(policy, prompts[place], lengths[place], repeats, room) for place in each]
        self.logits = torch.cat([part.logits for part in self._parts])

    def _gather(self) -> None:
        self.logits = torch.cat([part.logits for part in self._parts]) if self._parts else self.logits[:0]

    def _split(self, rows: Tensor) -> list[Tensor]:
        """Return each prompt's part of an index in which prompts come in their order, counted from its first row."""
        found, first = [], 0
        for part in self._parts:
            stop = first + len(part.logits)
            found.append(rows[(rows >= first) & (rows < stop)] - first)
            first = stop
        return found

    def step(self, tokens: Tensor) -> None:
        sizes = [len(part.logits) for part in self._parts]
        for part, some in zip(self._parts, tokens.split_with_sizes(sizes), strict=True):
            part.step(some)
        self._gather()

    def select(self, rows: Tensor) -> None:
        each = self._split(rows)
        for part, some in zip(self._parts, each, strict=True):
            if len(some):
                part.select(some)
        self._parts = [part for part, some in zip(self._parts, each, strict=True) if len(some)]
        self._gather()

    def inherit(self, rows: Tensor) -> None:
        for part, some in zip(self._parts, self._split(rows), strict=True):
            part.inherit(some)
        self._gather()


def _run(policy: Policy, **inputs: Any) -> tuple[Tensor, Tensor | None, Any]:
    with policy.autocast():
        return backbone.forward(policy.model, **inputs)
