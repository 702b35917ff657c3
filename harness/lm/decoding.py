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
    shared = backbone.able(policy.model, "shared prefix", lambda: _probe(policy))
    return (_Shared if shared else _Copied)(policy, prompts, lengths, repeats, room)


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


class _Grid(DynamicCache):
    """Keys and values of generated positions, with a place for every candidate of every prompt.

    A layer's lie as (B, G, K, S, D), in memory for all positions to come: beside each other for each key head, so that
    a prompt's candidates can be multiplied together.
    """

    def __init__(self, prefix: list[tuple[Tensor, Tensor]], repeats: int, room: int) -> None:
        super().__init__()
        self.length = 0
        self._batch = len(prefix[0][0])
        self._repeats = repeats
        self._places: Tensor | None = None  # (N,): where in B x K each row is; None while row i is at i
        self._stores = [
            [states.new_zeros(len(states), states.shape[1], repeats, room, states.shape[3]) for states in pair]
            for pair in prefix
        ]

    def get_seq_length(self, layer_idx: int = 0) -> int:  # noqa: ARG002  # transformers' signature
        """Return how many positions are filled."""
        return self.length

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Write one position (N, G, 1, D) of a layer; :meth:`read` has it beside the others."""
        for store, states in zip(self._stores[layer_idx], (key_states, value_states), strict=True):
            store[:, :, :, self.length] = self.spread(states).squeeze(3)
        return key_states, value_states

    def read(self, layer: int) -> list[Tensor]:
        """Return a layer's keys and values (B G K, S, D), the position that was just written included."""
        return [store.flatten(0, 2)[:, : self.length + 1] for store in self._stores[layer]]

    def spread(self, rows: Tensor) -> Tensor:
        """(N, G, Q, D), a row each, to (B, G, K, Q, D), which is 0 where a row has left."""
        if self._places is not None:
            grid = rows.new_zeros(self._batch * self._repeats, *rows.shape[1:])
            rows = grid.index_copy_(0, self._places, rows)
        return rows.reshape(self._batch, self._repeats, *rows.shape[1:]).transpose(1, 2)

    def gather(self, grid: Tensor) -> Tensor:
        """(B, G, K, Q, D) to (N, G, Q, D)."""
        rows = grid.transpose(1, 2).flatten(0, 1)
        return rows if self._places is None else rows[self._places]

    def inherit(self, rows: Tensor) -> None:
        """Give row i what row ``rows[i]`` wrote."""
        moved = (rows != torch.arange(len(rows), device=rows.device)).nonzero()[:, 0]
        into, out = self._cell(moved), self._cell(rows[moved])
        for store in (store for pair in self._stores for store in pair):
            cells = store.transpose(1, 2)[:, :, :, : self.length]
            cells[into] = cells[out]

    def select(self, rows: Tensor) -> Tensor | None:
        """Let the other rows leave; return which prompts remain, if prompts left as well."""
        if self._places is None:
            self._places = torch.arange(self._batch * self._repeats, device=rows.device)
        self._places = self._places[rows]
        owners = self._places // self._repeats
        alive: Tensor = torch.unique(owners)
        if 2 * len(alive) > self._batch:  # to drop prompts is to copy the others
            return None
        self._places = torch.searchsorted(alive, owners) * self._repeats + self._places % self._repeats
        self._stores = [[store[alive] for store in pair] for pair in self._stores]
        self._batch = len(alive)
        return alive

    def _cell(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return rows // self._repeats, rows % self._repeats


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
            cache=DynamicCache(config=self._model.config),
            use_cache=True,
        )
        index = torch.arange(len(prompts), device=prompts.device)
        last = _logits(policy, hidden[index, lengths - 1], None if logits is None else logits[index, lengths - 1])
        self.logits = last.repeat_interleave(repeats, 0)
        self._next = lengths.repeat_interleave(repeats)[:, None]
        self._prefix = [(layer.keys, layer.values) for layer in cache.layers]
        self._grid = _Grid(self._prefix, repeats, room)
        keys = self._prefix[0][0]
        self._heads: int = keys.shape[1]
        padding = torch.zeros(real.shape, dtype=keys.dtype, device=real.device)
        padding.masked_fill_(~real, torch.finfo(keys.dtype).min)
        self._padding = padding[:, None, None].expand(-1, self._heads, -1, -1).contiguous()

    def step(self, tokens: Tensor) -> None:
        with _attending(self, self._model):
            hidden, logits, _ = _run(
                self._policy,
                input_ids=tokens[:, None],
                position_ids=self._next,
                cache=self._grid,
                use_cache=True,
            )
        self._grid.length += 1
        self.logits = _logits(self._policy, hidden[:, -1], None if logits is None else logits[:, -1])
        self._next = self._next + 1

    def select(self, rows: Tensor) -> None:
        self.logits, self._next = self.logits[rows], self._next[rows]
        alive = self._grid.select(rows)
        if alive is not None:
            self._prefix = [(keys[alive], values[alive]) for keys, values in self._prefix]
            self._padding = self._padding[alive]

    def inherit(self, rows: Tensor) -> None:
        self._grid.inherit(rows)
        self.logits = self.logits[rows]

    def attend(self, layer: int, query: Tensor, scaling: float) -> Tensor:
        """Return what the queries (N, H, 1, D) of one position attend to, (N, 1, H, D)."""
        rows, heads, _, width = query.shape
        share = heads // self._heads  # queries that use the same keys
        query = self._grid.spread(query.view(rows, self._heads, share, width))
        shape = query.shape
        query = query.reshape(-1, shape[2] * share, width).contiguous()
        prompt_keys, prompt_values = (states.flatten(0, 1) for states in self._prefix[layer])
        keys, values = self._grid.read(layer)
        # of the prompt, for all its candidates at once; and of what each of them wrote
        far = torch.baddbmm(self._padding.flatten(0, 1), query, prompt_keys.transpose(1, 2), alpha=scaling)
        near = torch.bmm(query.view(-1, share, width) * scaling, keys.transpose(1, 2))
        near = near.view(len(far), -1, near.shape[2])
        weights = torch.cat((far, near), -1).softmax(-1).to(far.dtype)
        far, near = weights[..., : far.shape[2]], weights[..., far.shape[2] :]
        mixed = torch.bmm(near.reshape(-1, share, near.shape[2]), values).view(len(far), -1, width)
        mixed = torch.baddbmm(mixed, far, prompt_values)
        return self._grid.gather(mixed.reshape(shape)).reshape(rows, 1, heads, width)


class _Copied:
    """Every row with a cache of its own, as transformers' ``generate`` keeps it."""

    def __init__(self, policy: Policy, prompts: Tensor, lengths: Tensor, repeats: int, _room: int) -> None:
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
            cache=self._cache,
            use_cache=True,
        )
        self.logits = _logits(self._policy, hidden[:, -1], None if logits is None else logits[:, -1])
        self._next = self._next + 1

    def select(self, rows: Tensor) -> None:
        self._cache.batch_select_indices(rows)
        self._mask, self._next, self.logits = self._mask[rows], self._next[rows], self.logits[rows]

    def inherit(self, rows: Tensor) -> None:
        self.select(rows)


_attended: list[_Shared] = []


@contextmanager
def _attending(rows: _Shared, model: nn.Module) -> Iterator[None]:
    """Send the attention of ``model`` to ``rows``."""
    config = cast("Any", model.config)
    before = config._attn_implementation  # noqa: SLF001  # how transformers itself switches it
    _attended.append(rows)
    config._attn_implementation = _NAME  # noqa: SLF001
    try:
        yield
    finally:
        config._attn_implementation = before  # noqa: SLF001
        _attended.pop()


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,  # noqa: ARG001  # the grid has them
    value: Tensor,  # noqa: ARG001
    attention_mask: Tensor | None,  # noqa: ARG001  # nothing generated is masked
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers calls it."""
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    return _attended[-1].attend(cast("int", module.layer_idx), query, scaling), None


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
