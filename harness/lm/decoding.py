"""Decoding with a cache of keys and values: one prefill a prompt, any number of rows from it, and rows that leave.

While decoding, time goes into reading keys and values. So a prompt's are kept once, and all rows that continue it
attend to that one copy, each with its own few generated positions beside it. Models whose attention is of another kind
get what transformers' own generation does: left padding, a mask, and a copy of the cache for every row.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from transformers import AttentionInterface, DynamicCache
from transformers.cache_utils import DynamicLayer

from harness.errors import InputError
from harness.lm import backbone

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor, nn

    from harness.api import Prompts
    from harness.lm.policy import Policy

#: The name under which transformers knows :func:`_attend`.
_NAME = "harness_shared_prefix"


class Decoder(Protocol):
    """Rows that are decoded together; row ``b * repeats + k`` continues prompt b until rows leave."""

    logits: Tensor
    """(N, V): of each row's next token, over the ids that have a token."""

    def step(self, tokens: Tensor) -> None:
        """Feed each row a token (N,), which makes new :attr:`logits`."""

    def select(self, rows: Tensor) -> None:
        """Keep the rows that the index ``rows`` names, each once."""

    def inherit(self, rows: Tensor) -> None:
        """Give row i what row ``rows[i]``, of the same prompt, generated; as many rows as there are."""


def decoder(policy: Policy, prompts: Tensor, lengths: Tensor, *, repeats: int, room: int) -> Decoder:
    """Prefill.

    Args:
        policy: the model; in evaluation mode, and gradients are off.
        prompts: (B, P) int64, padded at the right end with anything.
        lengths: (B,) int64, at least 1.
        repeats: rows a prompt.
        room: most tokens that :meth:`Decoder.step` will be given a row.
    """
    shared = backbone.able(policy.model, "shared prefix", lambda: _probe(policy))
    return (_Shared if shared else _Copied)(policy, prompts, lengths, repeats, room)


def check_prompts(policy: Policy, prompts: Prompts, max_new_tokens: int, ids: Sequence[str] | None = None) -> None:
    """Raise InputError where a prompt is empty, or leaves less context than ``max_new_tokens``."""
    if len(prompts) == 0:
        return
    least, most = int(prompts.lengths.argmin()), int(prompts.lengths.argmax())
    if int(prompts.lengths[least]) < 1:
        raise InputError(
            "a prompt has no tokens",
            where=None if ids is None else f"example {ids[least]}",
            expected="at least one",
        )
    policy.check_fits(int(prompts.lengths[most]), max_new_tokens, where=None if ids is None else f"example {ids[most]}")


class _Suffix(DynamicLayer):
    """Keys and values of what a layer's rows generated, in memory set aside for the whole completion."""

    def __init__(self, like: Tensor, rows: int, room: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # transformers
        self.lazy_initialization(like, like)
        _, heads, _, width = like.shape
        self._stores = [like.new_empty(rows, heads, room, width) for _ in range(2)]
        self._length = 0
        self._show()

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Append a position."""
        for store, states in zip(self._stores, (key_states, value_states), strict=True):
            store[:, :, self._length : self._length + 1] = states
        self._length += 1
        self._show()
        return self.keys, self.values

    def select(self, targets: Tensor, sources: Tensor, rows: int) -> None:
        """Copy rows ``sources`` over rows ``targets``, then keep the first ``rows``."""
        for store in self._stores:
            store[targets, :, : self._length] = store[sources, :, : self._length]
        self._stores = [store[:rows] for store in self._stores]
        self._show()

    def _show(self) -> None:
        self.keys: Tensor
        self.values: Tensor
        self.keys, self.values = (store[:, :, : self._length] for store in self._stores)


class _Shared:
    """Rows over one copy of their prompt's keys and values."""

    def __init__(self, policy: Policy, prompts: Tensor, lengths: Tensor, repeats: int, room: int) -> None:
        self._policy = policy
        self._model: nn.Module = policy.model
        width = int(lengths.max())
        positions = torch.arange(width, device=prompts.device).expand(len(prompts), width)
        real = positions < lengths[:, None]
        # padding at the right end needs no mask here: what is real never looks there
        hidden, logits, cache = _run(
            policy,
            input_ids=torch.where(real, prompts[:, :width], 0),  # padding may be no id at all
            position_ids=positions,
            past_key_values=DynamicCache(config=self._model.config),
            use_cache=True,
        )
        index = torch.arange(len(prompts), device=prompts.device)
        last = _logits(policy, hidden[index, lengths - 1], None if logits is None else logits[index, lengths - 1])
        self.logits = last.repeat_interleave(repeats, 0)
        self._next = lengths.repeat_interleave(repeats)[:, None]
        self._repeats = repeats
        self._prefix = [(layer.keys, layer.values) for layer in cache.layers]
        self._mask = None
        if not bool(real.all()):
            kind = self._prefix[0][0].dtype
            self._mask = torch.zeros(real.shape, dtype=kind, device=real.device)
            self._mask = self._mask.masked_fill_(~real, torch.finfo(kind).min)[:, None, None]
        self._slots: Tensor | None = (
            None  # row i sits at place i of the grid of prompts and candidates, until one leaves
        )
        self._cache = DynamicCache()
        self._cache.layers = [_Suffix(keys, len(self.logits), room) for keys, _ in self._prefix]

    def step(self, tokens: Tensor) -> None:
        with _attending(self):
            hidden, logits, _ = _run(
                self._policy,
                input_ids=tokens[:, None],
                position_ids=self._next,
                past_key_values=self._cache,
                use_cache=True,
            )
        self.logits = _logits(self._policy, hidden[:, -1], None if logits is None else logits[:, -1])
        self._next = self._next + 1

    def inherit(self, rows: Tensor) -> None:
        moved = (rows != torch.arange(len(rows), device=rows.device)).nonzero()[:, 0]
        for layer in self._cache.layers:
            cast("_Suffix", layer).select(moved, rows[moved], len(rows))
        self.logits = self.logits[rows]

    def select(self, rows: Tensor) -> None:
        slots = torch.arange(len(self.logits), device=rows.device) if self._slots is None else self._slots
        self._slots = slots[rows]
        self.inherit(rows)
        self._next = self._next[rows]
        self._forget_prompts()

    def attend(self, layer: int, query: Tensor, keys: Tensor, values: Tensor, scaling: float) -> Tensor:
        """One position's attention: (N, H, 1, D) over the prompt and over (N, G, S, D), G dividing H: (N, 1, H, D)."""
        rows, heads, _, width = query.shape
        groups = keys.shape[1]
        query = (query * scaling).view(rows, groups, heads // groups, width)
        prompt_keys, prompt_values = self._prefix[layer]
        far = self._spread(query) @ prompt_keys.transpose(-1, -2)
        if self._mask is not None:
            far = far + self._mask
        near = query @ keys.transpose(-1, -2)
        weights = torch.cat((self._gather(far), near), -1).softmax(-1).to(query.dtype)
        far, near = weights[..., : far.shape[-1]], weights[..., far.shape[-1] :]
        mixed: Tensor = self._gather(self._spread(far) @ prompt_values) + near @ values
        return mixed.view(rows, 1, heads, width)

    def _spread(self, x: Tensor) -> Tensor:
        """(N, G, Q, X), a row each, to (B, G, K Q, X), a prompt each; 0 where a row has left."""
        _, groups, queries, width = x.shape
        if self._slots is not None:
            grid = x.new_zeros(len(self._prefix[0][0]) * self._repeats, groups, queries, width)
            x = grid.index_copy_(0, self._slots, x)
        x = x.view(-1, self._repeats, groups, queries, width).transpose(1, 2)
        return x.reshape(-1, groups, self._repeats * queries, width)

    def _gather(self, x: Tensor) -> Tensor:
        """Undo :meth:`_spread`."""
        prompts, groups, _, width = x.shape
        x = x.view(prompts, groups, self._repeats, -1, width).transpose(1, 2).flatten(0, 1)
        return x if self._slots is None else x[self._slots]

    def _forget_prompts(self) -> None:
        """Drop prompts without rows, once they are half of all: dropping copies the others."""
        assert self._slots is not None
        owners = self._slots // self._repeats
        alive = torch.unique(owners)
        if 2 * len(alive) > len(self._prefix[0][0]):
            return
        self._slots = torch.searchsorted(alive, owners) * self._repeats + self._slots % self._repeats
        self._prefix = [(keys[alive], values[alive]) for keys, values in self._prefix]
        self._mask = None if self._mask is None else self._mask[alive]


class _Copied:
    """Every row with a cache of its own, as transformers' ``generate`` keeps it."""

    def __init__(self, policy: Policy, prompts: Tensor, lengths: Tensor, repeats: int, _room: int) -> None:
        self._policy = policy
        width = int(lengths.max())
        places = torch.arange(width, device=prompts.device)
        behind = width - lengths[:, None]
        real = places >= behind
        ids = prompts.gather(1, (places - behind).clamp(min=0)).masked_fill(~real, 0)
        self._mask = real.long()
        hidden, logits, self._cache = _run(
            policy,
            input_ids=ids,
            position_ids=(places - behind).clamp(min=0),
            attention_mask=self._mask,
            past_key_values=DynamicCache(config=policy.model.config),
            use_cache=True,
        )
        self.logits = _logits(policy, hidden[:, -1], None if logits is None else logits[:, -1])
        self._next = lengths[:, None]
        self.select(torch.arange(len(prompts), device=prompts.device).repeat_interleave(repeats))

    def step(self, tokens: Tensor) -> None:
        self._mask = torch.nn.functional.pad(self._mask, (0, 1), value=1)
        hidden, logits, _ = _run(
            self._policy,
            input_ids=tokens[:, None],
            position_ids=self._next,
            attention_mask=self._mask,
            past_key_values=self._cache,
            use_cache=True,
        )
        self.logits = _logits(self._policy, hidden[:, -1], None if logits is None else logits[:, -1])
        self._next = self._next + 1

    def select(self, rows: Tensor) -> None:
        self._cache.batch_select_indices(rows)
        self._mask, self._next, self.logits = self._mask[rows], self._next[rows], self.logits[rows]

    def inherit(self, rows: Tensor) -> None:
        self.select(rows)


_current: list[_Shared] = []


@contextmanager
def _attending(rows: _Shared) -> Iterator[None]:
    """Send the model's attention to ``rows``."""
    config = cast("Any", rows._model.config)  # noqa: SLF001  # of this module
    before = config._attn_implementation  # noqa: SLF001  # how transformers itself switches it
    _current.append(rows)
    config._attn_implementation = _NAME  # noqa: SLF001
    try:
        yield
    finally:
        config._attn_implementation = before  # noqa: SLF001
        _current.pop()


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001  # the interface's; there is none
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers calls it: (N, H, 1, D) queries, (N, G, S, D) generated keys and values."""
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    return _current[-1].attend(cast("int", module.layer_idx), query, key, value, scaling), None


AttentionInterface.register(_NAME, _attend)


def _run(policy: Policy, **inputs: Any) -> tuple[Tensor, Tensor | None, Any]:
    with policy.autocast():
        return backbone.forward(policy.model, **inputs)


def _logits(policy: Policy, hidden: Tensor, logits: Tensor | None) -> Tensor:
    with policy.autocast():
        return policy.restrict(backbone.head(policy.model)(hidden) if logits is None else logits)


def _probe(policy: Policy) -> bool:
    """Try on a toy that rows over a shared prefix get the logits of whole sequences."""
    ids = torch.arange(2, 12, device=policy.device).view(2, 5) % policy.vocab_size
    lengths = torch.tensor([3, 2], device=policy.device)
    tail = ids[:, 3:].repeat_interleave(2, 0)
    tail[1::2] = tail[1::2].flip(1)
    rows = _Shared(policy, ids, lengths, 2, 2)
    for tokens in tail.unbind(1):
        rows.step(tokens)
    rows.select(torch.tensor([3, 1], device=policy.device))
    expected = []
    for prompt, row in ((1, 3), (0, 1)):
        whole = torch.cat((ids[prompt, : lengths[prompt]], tail[row]))[None]
        hidden, logits, _ = _run(policy, input_ids=whole, use_cache=False)
        expected.append(_logits(policy, hidden[:, -1], None if logits is None else logits[:, -1]))
    return backbone.alike(rows.logits, torch.cat(expected))
