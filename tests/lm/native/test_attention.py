"""The kernel's attention inside trees against the definition: a softmax over what each token may see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from lm.native.oracle import TREES, attended, mask_of, states_of

from harness.lm.native import attention
from harness.lm.score.trees import Forest, Tree

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.usefixtures("own_kernels")
DEVICE = torch.device("cpu")


def layout_of(trees: Sequence[Tree], *, few: bool = False) -> attention.Layout:
    return Forest(tuple(trees))._layout(few=few)


@pytest.mark.parametrize("few", [False, True])
@pytest.mark.parametrize(("heads", "groups", "size"), [(2, 2, 4), (4, 2, 32), (3, 1, 20), (1, 1, 80), (2, 2, 64)])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)], ids=["float64", "float32"]
)
def test_values_and_gradients_are_those_of_the_definition(
    dtype: torch.dtype, tolerance: float, heads: int, groups: int, size: int, *, few: bool
) -> None:
    forest = Forest(TREES)
    query, key, value = states_of(TREES, heads, groups, size)
    wanted = forest.predicting(DEVICE) if few else torch.arange(len(query))
    expected = attended(query, key, value, 0.3, mask_of(TREES))[wanted]
    pull = torch.randn(expected.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    theirs = torch.autograd.grad(expected, (query, key, value), pull)
    inputs = [each.detach().to(dtype).requires_grad_() for each in (query, key, value)]
    found = attention.attend(inputs[0][wanted], inputs[1], inputs[2], 0.3, layout_of(TREES, few=few))
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=tolerance)
    for one, other in zip(torch.autograd.grad(found, inputs, pull.to(dtype)), theirs, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=0, atol=10 * tolerance)


def test_parts_of_a_fused_product_are_read_where_they_lie() -> None:
    fused = torch.randn(9, 2, 3 * 5, dtype=torch.float64)
    query, key, value = fused.chunk(3, dim=-1)
    layout = layout_of([Tree(4, (5,))])
    found = attention.attend(query, key, value, 1.0, layout)
    again = attention.attend(query.contiguous(), key.contiguous(), value.contiguous(), 1.0, layout)
    asked, keys, values = (each.transpose(1, 2).contiguous().transpose(1, 2) for each in (query, key, value))
    across = attention.attend(asked, keys, values, 1.0, layout)
    assert torch.equal(found, again)
    assert torch.equal(found, across)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_neither_company_nor_threads_change_a_bit(dtype: torch.dtype, threads: None) -> None:
    tree = Tree(30, (50, 3, 24))
    alone = [each.to(dtype) for each in states_of([tree], 4, 2, 16)]
    others = [each.to(dtype) for each in states_of([Tree(70, (9,))], 4, 2, 16)]

    def run(*, company: bool, count: int) -> list[torch.Tensor]:
        torch.set_num_threads(count)
        inputs = [torch.cat((b, a)) if company else a for a, b in zip(alone, others, strict=True)]
        inputs = [each.detach().requires_grad_() for each in inputs]
        trees = [Tree(70, (9,)), tree] if company else [tree]
        found = attention.attend(inputs[0], inputs[1], inputs[2], 0.25, layout_of(trees))
        pull = torch.linspace(-1, 1, tree.tokens * 64, dtype=dtype).view(tree.tokens, 64)
        mine = found[-tree.tokens :]
        return [mine, *(each[-tree.tokens :] for each in torch.autograd.grad(mine, inputs, pull))]

    expected = run(company=False, count=1)
    for company, count in ((True, 1), (False, 2), (True, 3)):
        for one, other in zip(run(company=company, count=count), expected, strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0, 1e4])
def test_scores_of_any_size_give_a_softmax(dtype: torch.dtype, scale: float) -> None:
    trees = [Tree(60, (20, 20))]
    query, key, value = (each.detach() for each in states_of(trees, 1, 1, 8))
    expected = attended(query, key, value, scale, mask_of(trees))
    found = attention.attend(query.to(dtype), key.to(dtype), value.to(dtype), scale, layout_of(trees))
    # scores of thousands have few digits left behind the point in float32
    tolerance = 1e-12 if dtype == torch.float64 else 2e-5 * max(1.0, scale)
    if scale < 1e4 or dtype == torch.float64:
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=tolerance)
    assert found.isfinite().all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_not_hidden(value: float) -> None:
    trees = [Tree(5, (3, 2)), Tree(4, ())]
    query, key, values = (each.detach().float() for each in states_of(trees, 1, 1, 8))
    key[6] = value  # the second token of the first completion
    found = attention.attend(query, key, values, 1.0, layout_of(trees))
    spoilt = ~found.isfinite().all(1)
    assert spoilt[6:8].any()
    assert not spoilt[[0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13]].any()


def test_what_would_leave_threads_idle_is_left_to_torch(threads: None) -> None:
    states = torch.zeros(3, 2, 4)
    torch.set_num_threads(2)
    assert attention.takes(1, states, states, states)
    torch.set_num_threads(3)
    assert not attention.takes(1, states, states, states)
    assert attention.takes(2, states, states, states)


def test_other_types_and_mixtures_are_left_to_torch() -> None:
    states = torch.zeros(3, 2, 4)
    assert not attention.takes(9, *[states.bfloat16()] * 3)
    assert not attention.takes(9, states, states.double(), states)
