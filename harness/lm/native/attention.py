"""Attention of tokens that lie in trees, prompts and completions one behind the other, forth and back.

The softmax's weights are never kept: of a block of queries they are made in a core's own cache, and made again on the
way back (as FlashAttention does). What a query does not see is not computed, but for what fills a block.
"""

from __future__ import annotations

from ctypes import byref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd.function import once_differentiable

from harness.lm.native.library import States, kernels, lean

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """Which tokens are a tree's, and what each query sees."""

    trees: Tensor
    """(T, 4) int64: a tree's first token, its tokens, and from and up to which piece its queries are in."""
    pieces: Tensor
    """(P, 5) int64: a piece's first query; which token of its tree that is, the others following; its queries; tokens
    of the tree that all of them see, from the first on; the token from which on each sees up to itself."""


def takes(trees: int, query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Tell whether :func:`attend` can be called, and has something to do for every thread."""
    return trees * key.shape[1] >= torch.get_num_threads() and kernels(query, key, value) is not None


def attend(query: Tensor, key: Tensor, value: Tensor, scaling: float, layout: Layout) -> Tensor:
    """Return what M queries find among N tokens.

    Args:
        query: (M, H, D).
        key: (N, G, D), H being a multiple of G.
        value: (N, G, D).
        scaling: of the products of queries and keys.
        layout: who sees whom.

    Returns:
        (M, H x D).
    """
    result: Tensor = _Attend.apply(query, key, value, scaling, layout)  # type: ignore[no-untyped-call]  # torch
    return result


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scaling: float, layout: Layout) -> Tensor:
        query, key, value = lean(query), lean(key), lean(value)
        rows, heads, size = query.shape
        found, logarithms = query.new_empty(rows, heads * size), query.new_empty(heads, rows)
        ctx.shape = (heads, key.shape[1], size, scaling, len(layout.trees))
        ctx.layout = layout
        kernels(query).attend(
            torch.get_num_threads(),
            *ctx.shape,
            layout.trees.data_ptr(),
            layout.pieces.data_ptr(),
            *(byref(States.of(each)) for each in (query, key, value)),
            found.data_ptr(),
            logarithms.data_ptr(),
            rows,
        )
        ctx.save_for_backward(query, key, value, found, logarithms)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, pull: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, found, logarithms = ctx.saved_tensors
        pull = pull.contiguous()
        into = tuple(torch.empty(each.shape, dtype=each.dtype) for each in (query, key, value))
        kernels(query).attend_back(
            torch.get_num_threads(),
            *ctx.shape,
            ctx.layout.trees.data_ptr(),
            ctx.layout.pieces.data_ptr(),
            *(byref(States.of(each)) for each in (query, key, value)),
            found.data_ptr(),
            logarithms.data_ptr(),
            len(query),
            pull.data_ptr(),
            *(byref(States.of(each)) for each in into),
        )
        return (*into, None, None)
