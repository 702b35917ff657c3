"""The product of queries and keys under autocast: float32 where there is a way back."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from harness.lm.attention import Settings, additive, product


@pytest.mark.parametrize("masked", ["mask", "causal"])
def test_what_learns_attends_in_float32_under_autocast(masked: str) -> None:
    draw = torch.Generator().manual_seed(0)
    states = [torch.randn(2, heads, 9, 8, generator=draw).bfloat16() for heads in (4, 2, 2)]
    bias = additive(torch.ones(9, 9, dtype=torch.bool).triu(1), states[0]) if masked == "mask" else None
    query, key, value = given = [each.clone().requires_grad_() for each in states]
    exact = [each.float().repeat_interleave(4 // each.shape[1], 1).requires_grad_() for each in states]
    expected = scaled_dot_product_attention(exact[0], exact[1], exact[2], is_causal=True, scale=0.3)
    right = torch.autograd.grad(expected.square().sum(), exact)
    with torch.autocast("cpu", torch.bfloat16):
        outcome = product(query, key, value, Settings(0.3), mask=bias, causal=bias is None)
        answered = product(states[0], states[1], states[2], Settings(0.3), mask=bias, causal=bias is None)
    found = torch.autograd.grad(outcome.square().sum(), given)
    assert torch.allclose(outcome, expected, rtol=1e-5, atol=1e-6)
    assert answered.dtype == torch.bfloat16
    for own, plain in zip(found, right, strict=True):
        summed = plain.view(2, own.shape[1], -1, 9, 8).sum(2)
        assert torch.allclose(own.float(), summed, rtol=2e-2, atol=2e-2)  # what reaches a leaf is rounded
