"""Exponentials of logits against torch's softmax in float64."""

from __future__ import annotations

import pytest
import torch

from harness.lm.native.softmax import soften

pytestmark = pytest.mark.usefixtures("each_kernels")
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-14}


@pytest.mark.parametrize("shape", [(0, 5), (1, 1), (3, 7), (2, 64), (5, 1003)])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_they_are_those_of_the_softmax(dtype: torch.dtype, shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = (torch.randn(shape, generator=generator, dtype=torch.float64) * 20).to(dtype)
    expected = logits.double().clone()
    weights, tops, sums = soften(logits)
    assert weights.data_ptr() == logits.data_ptr()
    assert torch.equal(tops, expected.to(dtype).amax(-1))
    torch.testing.assert_close(
        weights.double() / sums.double()[:, None], expected.softmax(-1), rtol=0, atol=TOLERANCE[dtype]
    )
    torch.testing.assert_close(tops.double() + sums.double().log(), expected.logsumexp(-1), rtol=1e-6, atol=0)


@pytest.mark.parametrize("width", [5, 40])
def test_ids_that_are_left_out_weigh_nothing(width: int) -> None:
    logits = torch.zeros(2, width)
    logits[:, 1] = -torch.inf
    weights, _, sums = soften(logits)
    assert weights[:, 1].tolist() == [0.0, 0.0]
    assert sums.tolist() == [width - 1.0] * 2


@pytest.mark.parametrize("width", [5, 40])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_not_finite_spoils_its_row_alone(width: int, value: float) -> None:
    logits = torch.zeros(3, width)
    logits[1, 2] = value
    sums = soften(logits)[2]
    assert sums.isfinite().tolist() == [True, False, True]


def test_memory_that_is_not_in_order() -> None:
    logits = torch.randn(6, 10, dtype=torch.float64)
    weights, _, sums = soften(logits.clone().t())
    torch.testing.assert_close(weights / sums[:, None], logits.t().softmax(-1))
