"""Attention by pieces against one product under a mask over everything."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from harness.lm.score import trees as tree_attention
from harness.lm.score.trees import Forest, Tree

TREES = (Tree(5, (3, 4)), Tree(1, ()), Tree(7, (6,)), Tree(2, (1, 1, 9)))


def mask_of(trees: tuple[Tree, ...]) -> torch.Tensor:
    """(L, L) bool, written as the definition reads: own tree, prompt or own part, not later."""
    places = [
        (number, part) for number, tree in enumerate(trees)
        for part, size in enumerate((tree.prompt, *tree.completions)) for _ in range(size)
    ]  # fmt: skip
    return torch.tensor(
        [[mine[0] == other[0] and other[1] in (0, mine[1]) and j <= i for j, other in enumerate(places)]
         for i, mine in enumerate(places)]
    )  # fmt: skip


@pytest.mark.parametrize("groups", [4, 2])
@pytest.mark.parametrize("small", [0, 10, 1000])
def test_values_and_gradients_are_those_under_a_mask(monkeypatch: pytest.MonkeyPatch, small: int, groups: int) -> None:
    monkeypatch.setattr(tree_attention, "_SMALL", small)
    generator = torch.Generator().manual_seed(0)
    length = sum(tree.tokens for tree in TREES)

    def states(heads: int) -> torch.Tensor:
        return torch.randn(1, heads, length, 8, generator=generator, dtype=torch.float64, requires_grad=True)

    inputs = (states(4), states(groups), states(groups))
    options: dict[str, Any] = {"scale": 0.3, "enable_gqa": groups != 4}
    found = Forest(TREES).attend(*inputs, **options)
    expected = scaled_dot_product_attention(*inputs, attn_mask=mask_of(TREES), **options).transpose(1, 2)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    pull = torch.randn(found.shape, generator=generator, dtype=torch.float64)
    mine = torch.autograd.grad(found, inputs, pull)
    theirs = torch.autograd.grad(expected, inputs, pull)
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
