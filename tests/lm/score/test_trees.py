"""Attention of trees that lie in one row, by pieces and side by side, against its definition."""

from __future__ import annotations

import math

import pytest
import torch

from harness.lm.attention import Settings
from harness.lm.score import trees
from harness.lm.score.trees import Forest, Tree

SEVERAL = (Tree(5, (3, 4)), Tree(1, ()), Tree(7, (6,)), Tree(2, (1, 1, 9)))
SINGLE = (Tree(5, (3,)), Tree(1, ()), Tree(7, (6,)))
ALIKE = (Tree(5, (3, 4)), Tree(6, (6,)), Tree(12, ()))
SAME = (Tree(3, (2,)), Tree(5, ()))


def seen(forest: tuple[Tree, ...], window: int | None) -> torch.Tensor:
    """(L, L) bool, written as the definition reads: own tree, prompt or own part, not later, not too far back."""
    places = [
        (number, part, position) for number, tree in enumerate(forest)
        for part, size in enumerate((tree.prompt, *tree.completions))
        for position in range(tree.prompt if part else 0, (tree.prompt if part else 0) + size)
    ]  # fmt: skip
    return torch.tensor([
        [
            mine[0] == other[0] and other[1] in (0, mine[1]) and other[2] <= mine[2]
            and mine[2] - other[2] < (window or math.inf)
            for other in places
        ]
        for mine in places
    ])  # fmt: skip


def defined(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, settings: Settings, mask: torch.Tensor
) -> torch.Tensor:
    shared = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(shared, 1), value.repeat_interleave(shared, 1)
    scores = query @ key.mT * settings.scaling
    if settings.softcap is not None:
        scores = settings.softcap * torch.tanh(scores / settings.softcap)
    return (scores.masked_fill(~mask, -math.inf).softmax(-1) @ value).transpose(1, 2)


@pytest.mark.parametrize("settings", [Settings(0.3), Settings(0.3, window=4), Settings(0.5, window=3, softcap=0.7)])
@pytest.mark.parametrize("groups", [4, 2])
@pytest.mark.parametrize("forest", [SEVERAL, SINGLE, ALIKE, SAME])
@pytest.mark.parametrize("piecewise", [True, False])
def test_values_and_gradients_are_those_of_the_definition(
    monkeypatch: pytest.MonkeyPatch, forest: tuple[Tree, ...], groups: int, settings: Settings, *, piecewise: bool
) -> None:
    monkeypatch.setattr(trees, "PIECEWISE", {"cpu"} if piecewise else set())
    generator = torch.Generator().manual_seed(0)
    length = sum(tree.tokens for tree in forest)

    def states(heads: int, size: int = 8) -> torch.Tensor:
        return torch.randn(1, heads, length, size, generator=generator, dtype=torch.float64, requires_grad=True)

    inputs = (states(4), states(groups), states(groups, 6))
    found = Forest(forest).attend(0, *inputs, settings)
    expected = defined(*inputs, settings, seen(forest, settings.window))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    pull = torch.randn(found.shape, generator=generator, dtype=torch.float64)
    mine = torch.autograd.grad(found, inputs, pull)
    theirs = torch.autograd.grad(expected, inputs, pull)
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("piecewise", [True, False])
def test_masks_are_made_once_for_all_layers(monkeypatch: pytest.MonkeyPatch, *, piecewise: bool) -> None:
    monkeypatch.setattr(trees, "PIECEWISE", {"cpu"} if piecewise else set())
    forest = Forest(SEVERAL)
    states = [torch.zeros(1, 2, sum(tree.tokens for tree in SEVERAL), 4) for _ in range(3)]
    forest.attend(0, states[0], states[1], states[2], Settings(1.0))
    known = {which: id(mask) for which, mask in forest._masks.items()}
    forest.attend(1, states[0], states[1], states[2], Settings(1.0))
    assert {which: id(mask) for which, mask in forest._masks.items()} == known


@pytest.mark.parametrize("softcap", [None, 2.0])
def test_dropout_drops(softcap: float | None) -> None:
    forest = Forest(SEVERAL)
    states = [torch.randn(1, 2, sum(tree.tokens for tree in SEVERAL), 4) for _ in range(3)]
    settings = Settings(1.0, dropout=0.5, softcap=softcap)
    one, other = (forest.attend(0, states[0], states[1], states[2], settings) for _ in range(2))
    assert not torch.equal(one, other)
