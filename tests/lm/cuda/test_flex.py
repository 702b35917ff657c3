"""The rule and the blocks of FlexAttention against the dense mask, and its product as far as a CPU can make it."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.nn.attention.flex_attention import create_mask

from harness.lm.attention import Settings
from harness.lm.cuda import flex
from harness.lm.cuda.flex import BLOCK, PackedTrees
from harness.lm.score import trees as trees_module
from harness.lm.score.trees import Forest, Tree
from harness.lm.switches import FLEX

if TYPE_CHECKING:
    from collections.abc import Sequence

CPU = torch.device("cpu")
#: What a processor makes of it is for these tests alone.
pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")
Sizes = tuple[tuple[int, tuple[int, ...]], ...]


def some_trees(seed: int) -> Sizes:
    draws = random.Random(seed)
    largest = draws.choice((5, 40, 300, 700))
    return tuple(
        (draws.randint(1, largest), tuple(draws.randint(1, largest) for _ in range(draws.randint(0, 4))))
        for _ in range(draws.randint(1, 4))
    )


def dense(trees: Sizes, window: int | None) -> torch.Tensor:
    """Say of each pair of tokens whether the first sees the second, from what a tree is."""
    tokens = [
        (number, part, start + place)
        for number, (prompt, completions) in enumerate(trees)
        for part, (start, size) in enumerate([(0, prompt), *((prompt, size) for size in completions)])
        for place in range(size)
    ]
    tree, part, position = torch.tensor(tokens).unbind(1)
    distance = position[:, None] - position
    seen = (tree[:, None] == tree) & ((part == 0) | (part[:, None] == part)) & (distance >= 0)
    return seen if window is None else seen & (distance < window)


@pytest.mark.parametrize(
    ("seed", "window"), [*itertools.product(range(12), (None,)), *itertools.product(range(8), (1, 60, 400))]
)
def test_rule_and_blocks_are_the_dense_mask(seed: int, window: int | None) -> None:
    sizes = some_trees(seed)
    trees, expected = PackedTrees(sizes, CPU), dense(sizes, window)
    count = len(expected)
    assert torch.equal(create_mask(trees.sees(window), 1, 1, count, count, device="cpu")[0, 0], expected)
    partly, wholly = trees.blocks(window)
    assert not (partly & wholly).any()
    spare = -count % BLOCK
    padded = torch.nn.functional.pad(expected, (0, spare, 0, spare))
    cells = padded.view(len(partly), BLOCK, len(partly), BLOCK).transpose(1, 2).flatten(2)
    assert not (cells.any(2) & ~(partly | wholly)).any()  # none that is seen is left out
    assert cells[wholly].all()
    assert torch.equal(trees.mask(window).to_dense()[0, 0].bool(), partly | wholly)


def test_blocks_that_nobody_sees_are_left_out() -> None:
    """Four answers of 512 tokens to 512: they see the prompt and themselves, and not each other."""
    partly, wholly = PackedTrees(((512, (512,) * 4),), CPU).blocks(None)
    assert len(partly) == 20
    assert int(partly.sum()) == 20  # the diagonal
    assert int(wholly.sum()) == 5 * 6 + 4 * 16


@pytest.mark.parametrize("settings", [Settings(0.3), Settings(0.2, window=50), Settings(0.3, softcap=2.0)])
@pytest.mark.parametrize("heads", [(4, 4), (4, 2)])
def test_the_product_is_that_of_trees_side_by_side(settings: Settings, heads: tuple[int, int]) -> None:
    forest = Forest(tuple(Tree(*each) for each in ((150, (40, 9)), (3, ()), (20, (5,)))))
    size, generator = sum(tree.tokens for tree in forest.trees), torch.Generator().manual_seed(0)
    query, key, value = (
        torch.randn(1, count, size, 16, generator=generator, dtype=torch.float64)
        for count in (heads[0], heads[1], heads[1])
    )
    with torch.no_grad():
        found = forest._by_rule(query, key, value, settings)
        expected = forest._together(query, key, value, settings)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_the_trial_passes_and_finds_a_wrong_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    assert flex.why_not(CPU) == ""
    kernel = flex._kernel("cpu")
    monkeypatch.setattr(
        flex, "_kernel", lambda _: lambda *given, scale, **more: kernel(*given, scale=2 * scale, **more)
    )
    assert flex.why_not(CPU) == "FlexAttention gave other products, or gradients, than a dense mask"
    monkeypatch.setattr(PackedTrees, "attend", lambda *_: (_ for _ in ()).throw(RuntimeError("no such kernel\nmore")))
    assert flex.why_not(CPU) == "no such kernel"


class OnCuda:
    """Passes for a query there, as far as the question is asked."""

    device, dtype = torch.device("cuda"), torch.float32


@pytest.mark.parametrize("switch", ["", "off"])
def test_when_it_is_taken(switch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FLEX.variable, switch)
    for reason in ("", "no such kernel"):
        monkeypatch.setattr(flex, "_why_not", lambda _, reason=reason: reason)
        assert flex.wanted(OnCuda(), Settings(1.0)) is (not switch and not reason)  # type: ignore[arg-type]
        assert not flex.wanted(OnCuda(), Settings(1.0, dropout=0.1))  # type: ignore[arg-type]
        assert not flex.wanted(torch.zeros(1), Settings(1.0))


@pytest.mark.parametrize("numbers", [0, 1 << 40])
def test_small_forests_keep_their_mask(numbers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees_module, "PIECEWISE", set())
    monkeypatch.setattr(trees_module, "FLEX_FROM", numbers)
    monkeypatch.setattr(flex, "wanted", lambda *_: True)
    taken: list[Sequence[object]] = []
    attend = PackedTrees.attend

    def noted(*given: Any) -> torch.Tensor:
        taken.append(given)
        return attend(*given)

    monkeypatch.setattr(PackedTrees, "attend", noted)
    forest, states = Forest((Tree(3, (2, 4)),)), torch.randn(1, 2, 9, 8)
    with torch.no_grad():
        found = forest.attend(0, states, states, states, Settings(0.5))
        assert bool(taken) is (not numbers)
        expected = forest._together(states, states, states, replace(Settings(0.5)))
    torch.testing.assert_close(found, expected)
