"""FlexAttention over packed trees: who sees whom as a rule instead of a mask, and blocks that nobody sees left out.

FlexAttention (He et al. 2024, https://arxiv.org/abs/2412.05496) compiles a product in which a function says of each
pair of tokens whether one sees the other. It reads whole blocks of 128 tokens, and asks the function only inside those
that are seen in part. Which blocks these are is worked out here from the least and greatest tree, part and position of
each: a trial of all pairs, as ``create_block_mask`` makes it, takes L x L numbers.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from harness.errors import first_line
from harness.in_parts import out_of_memory
from harness.lm.attention import Settings, additive, product
from harness.lm.switches import FLEX

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

#: Tokens of a block.
BLOCK = 128
#: Of the largest number of a toy's product and of its gradients, in float32 whose products may be rounded to TF32.
_TOLERANCE = 5e-3


class PackedTrees:
    """L tokens of one row: of which tree, of which part of it (0: its prompt), and at which position they are."""

    def __init__(self, trees: Sequence[tuple[int, Sequence[int]]], device: torch.device) -> None:
        """Lay out (tokens of the prompt, tokens of each completion) one behind the other."""
        rows: list[tuple[int, int, int, int]] = []  # tree, part, first position, tokens
        for number, (prompt, completions) in enumerate(trees):
            rows.append((number, 0, 0, prompt))
            rows += [(number, part + 1, prompt, size) for part, size in enumerate(completions)]
        tree, part, first, sizes = torch.tensor(rows).unbind(1)
        starts = sizes.cumsum(0) - sizes
        places = torch.arange(int(sizes.sum()))
        #: On the host, since blocks are worked out there.
        self.tree, self.part = tree.repeat_interleave(sizes), part.repeat_interleave(sizes)
        self.position = places - (starts - first).repeat_interleave(sizes)
        self._device = device
        self._there = tuple(each.to(device, torch.int32) for each in (self.tree, self.part, self.position))
        self._masks: dict[int | None, BlockMask] = {}

    def sees(self, window: int | None) -> Callable[..., Tensor]:
        """Return the rule, as FlexAttention asks it: of batch, head, the index of who asks, and of who is asked."""
        tree, part, position = self._there

        def rule(_batch: Tensor, _head: Tensor, asks: Tensor, asked: Tensor) -> Tensor:
            distance = position[asks] - position[asked]
            seen = (tree[asks] == tree[asked]) & ((part[asked] == 0) | (part[asks] == part[asked])) & (distance >= 0)
            return seen if window is None else seen & (distance < window)

        return rule

    def blocks(self, window: int | None) -> tuple[Tensor, Tensor]:
        """Return which blocks (N, N) may be seen in part, and which are seen as a whole; on the host.

        No pair that is seen lies outside of both, and none that is not seen in the second.
        """
        count = -(-len(self.tree) // BLOCK)
        spare = count * BLOCK - len(self.tree)

        def ends(values: Tensor) -> tuple[Tensor, Tensor]:
            rows = torch.cat((values, values[-1:].expand(spare))).view(count, BLOCK)
            return rows.amin(1), rows.amax(1)

        (low_tree, high_tree), (low_part, high_part), (low, high) = map(ends, (self.tree, self.part, self.position))
        one_tree, one_part = low_tree == high_tree, (low_tree == high_tree) & (low_part == high_part)
        order = torch.arange(count)
        # what is asked stands at or before who asks, in a tree that both have a part of
        may = (order[:, None] >= order) & (high_tree >= low_tree[:, None]) & (low_tree <= high_tree[:, None])
        same = one_tree[:, None] & one_tree & (low_tree[:, None] == low_tree)
        other = one_part[:, None] & one_part & (low_part != 0) & (low_part[:, None] != low_part)
        may &= ~(same & other)
        whole = same & one_part & ((low_part == 0) | (one_part[:, None] & (low_part[:, None] == low_part)))
        whole &= low[:, None] >= high
        if window is not None:
            may &= ~(same & (low[:, None] - high >= window))
            whole &= high[:, None] - low < window
        if spare:
            whole[-1:] = whole[:, -1:] = False  # there is nobody in the rest of the last one
        return may & ~whole, whole

    def mask(self, window: int | None) -> BlockMask:
        """Return the rule and the blocks."""
        if window not in self._masks:
            partly, wholly = (_listed(blocks, self._device) for blocks in self.blocks(window))
            size = len(self.tree)
            self._masks[window] = BlockMask.from_kv_blocks(
                *partly, *wholly, BLOCK_SIZE=BLOCK, mask_mod=self.sees(window), seq_lengths=(size, size)
            )
        return self._masks[window]

    def attend(self, query: Tensor, key: Tensor, value: Tensor, settings: Settings) -> Tensor:
        """Return (1, H, L, E) of queries (1, H, L, D), keys (1, G, L, D) and values (1, G, L, E)."""
        kind = query.device.type
        if torch.is_autocast_enabled(kind):  # which casts for PyTorch's own product, and not for this one
            dtype = torch.get_autocast_dtype(kind)
            query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
        outcome: Tensor = _kernel(kind)(
            query,
            key,
            value,
            score_mod=None if settings.softcap is None else _capped(settings.softcap),
            block_mask=self.mask(settings.window),
            scale=settings.scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        return outcome


def wanted(query: Tensor, settings: Settings) -> bool:
    """Tell whether a forest is large enough a matter for FlexAttention, which has neither dropout nor float64."""
    if query.device.type != "cuda" or settings.dropout or query.dtype == torch.float64 or FLEX.on:
        return False
    return not _why_not(query.device)


@functools.cache
def _why_not(device: torch.device) -> str:
    return why_not(device)


def why_not(device: torch.device) -> str:
    """Return why FlexAttention cannot be used, empty if it can: what toys show beside a dense mask, gradients included.

    On a processor, where it has no backward, of the product alone.
    """
    try:
        for settings in (Settings(0.3), Settings(0.3, window=50), Settings(0.3, softcap=2.0)):
            if not _agrees(device, settings):
                return "FlexAttention gave other products, or gradients, than a dense mask"
    except Exception as error:
        if out_of_memory(error):
            raise  # it says nothing of the kernel
        return first_line(error)
    return ""


def _agrees(device: torch.device, settings: Settings) -> bool:
    trees = PackedTrees(((150, (40, 129, 1)), (3, ()), (20, (5, 300)), (257, (7,))), device)
    size, generator = len(trees.tree), torch.Generator().manual_seed(0)
    shapes = ((1, 4, size, 32), (1, 2, size, 32), (1, 2, size, 32))
    states = [
        torch.randn(shape, generator=generator).to(device).requires_grad_(device.type == "cuda") for shape in shapes
    ]
    pull = torch.randn(1, 4, size, 32, generator=generator).to(device)
    index = torch.arange(size, device=device)
    hidden = ~trees.sees(settings.window)(index, index, index[:, None], index)
    found = [trees.attend(states[0], states[1], states[2], settings)]
    expected = [product(states[0], states[1], states[2], settings, mask=additive(hidden, pull))]
    if device.type == "cuda":
        found += torch.autograd.grad(found[0], states, pull)
        expected += torch.autograd.grad(expected[0], states, pull)
    near = [
        float((a - b).abs().max()) <= _TOLERANCE * float(b.abs().max()) for a, b in zip(found, expected, strict=True)
    ]
    return all(near)


def _listed(blocks: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return of each block how many others it sees (1, 1, N), and which, those first (1, 1, N, N)."""
    order = torch.argsort((~blocks).to(torch.int8), dim=1, stable=True)
    counts, order = blocks.sum(1).to(torch.int32)[None, None], order.to(torch.int32)[None, None]
    return counts.to(device), order.to(device)


@functools.cache
def _kernel(kind: str) -> Any:
    """Return FlexAttention: compiled once for all lengths; on a processor as it is written."""
    return torch.compile(flex_attention, dynamic=True) if kind == "cuda" else flex_attention


@functools.cache
def _capped(softcap: float) -> Callable[..., Tensor]:
    def cap(score: Tensor, *_: Tensor) -> Tensor:
        return torch.tanh(score / softcap) * softcap

    return cap
