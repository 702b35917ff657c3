"""Attention as it is defined, in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from harness.lm.score.trees import Tree

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Sizes on both sides of what the kernel takes at a time: 24 queries, 48 keys.
TREES = (Tree(50, (23, 24, 25, 1)), Tree(1, ()), Tree(7, (60,)), Tree(97, (2, 48, 49)), Tree(48, ()), Tree(1, (1, 1)))


def mask_of(trees: Sequence[Tree]) -> torch.Tensor:
    """(L, L) bool: own tree, prompt or own part, not later."""
    tree = torch.tensor([number for number, each in enumerate(trees) for _ in range(each.tokens)])
    part = torch.tensor([p for t in trees for p, size in enumerate((t.prompt, *t.completions)) for _ in range(size)])
    mine = (part[:, None] == part) | (part == 0)
    return (tree[:, None] == tree) & mine & torch.ones(len(part), len(part), dtype=torch.bool).tril()


def states_of(trees: Sequence[Tree], heads: int, groups: int, size: int) -> tuple[torch.Tensor, ...]:
    """Queries (L, H, D), keys and values (L, G, D), in float64."""
    generator = torch.Generator().manual_seed(0)
    length = sum(tree.tokens for tree in trees)
    return tuple(
        torch.randn(length, count, size, generator=generator, dtype=torch.float64, requires_grad=True)
        for count in (heads, groups, groups)
    )


def attended(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float, mask: torch.Tensor
) -> torch.Tensor:
    """(M, H, D), (N, G, D) and (N, G, D) under a mask (M, N) to (M, H x D)."""
    share = query.shape[1] // key.shape[1]
    keys, values = (each.repeat_interleave(share, 1) for each in (key, value))
    scores = torch.einsum("mhd,nhd->hmn", query, keys) * scaling
    weights = scores.masked_fill(~mask, -torch.inf).softmax(-1)
    return torch.einsum("hmn,nhd->mhd", weights, values).flatten(1)
