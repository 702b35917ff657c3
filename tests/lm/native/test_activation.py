"""GELU against its formula in float64."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import gelu

from harness.lm.native.activation import gelu_tanh

#: What rounding leaves, of numbers of the order of one.
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-14}


def formula(x: torch.Tensor) -> torch.Tensor:
    return x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3))) / 2


@pytest.mark.usefixtures("own_kernels")
@pytest.mark.parametrize("shape", [(0,), (1,), (7,), (3, 129), (2, 5, 64)])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_values_and_gradients_are_those_of_the_formula(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    exact = (torch.randn(shape, generator=generator, dtype=torch.float64) * 3).to(dtype).double().requires_grad_()
    inputs = exact.detach().to(dtype).requires_grad_()
    found, expected = gelu_tanh(inputs), formula(exact)
    assert found.shape == shape
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=4 * TOLERANCE[dtype])
    pull = torch.randn(shape, generator=generator, dtype=torch.float64)
    (mine,), (theirs,) = torch.autograd.grad(found, inputs, pull.to(dtype)), torch.autograd.grad(expected, exact, pull)
    torch.testing.assert_close(mine.double(), theirs, rtol=0, atol=10 * TOLERANCE[dtype])
    with torch.inference_mode():
        assert torch.equal(gelu_tanh(inputs), found)


@pytest.mark.usefixtures("own_kernels")
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_the_ends_of_the_line(dtype: torch.dtype) -> None:
    large = torch.finfo(dtype).max
    inputs = torch.tensor([0.0, -0.0, 1e-30, 40.0, large, torch.inf, -40.0, -large, torch.nan], dtype=dtype)
    inputs.requires_grad_()
    found = gelu_tanh(inputs)
    assert found[:6].tolist() == [0.0, 0.0, inputs[2].item() / 2, 40.0, large, torch.inf]
    assert found[6].abs() < 1e-30
    assert found[7].abs() < large * 1e-30
    assert found[8].isnan()
    (slope,) = torch.autograd.grad(found, inputs, torch.ones_like(found))
    assert slope[:8].tolist() == pytest.approx([0.5, 0.5, 0.5, 1.0, 1.0, 1.0, 0.0, 0.0], abs=1e-30)
    assert slope[8].isnan()


@pytest.mark.usefixtures("own_kernels")
def test_memory_that_is_not_in_order() -> None:
    inputs = torch.randn(6, 10, dtype=torch.float64, requires_grad=True)
    found = gelu_tanh(inputs.t())
    torch.testing.assert_close(found, formula(inputs.t()))
    (mine,) = torch.autograd.grad(found.sum(), inputs)  # a pull that is one number, expanded
    (theirs,) = torch.autograd.grad(formula(inputs).sum(), inputs)
    torch.testing.assert_close(mine, theirs)


def test_other_types_are_torchs() -> None:
    inputs = torch.randn(50).bfloat16()
    assert torch.equal(gelu_tanh(inputs), gelu(inputs, approximate="tanh"))
