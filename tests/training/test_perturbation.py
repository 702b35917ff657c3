from __future__ import annotations

import pytest
import torch
from torch import nn

from harness.training.perturbation import noise, perturbed, weighted_sum


def parameters(dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    source = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=source, dtype=dtype)) for shape in ((40, 30), (30,), (7, 2))]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_come_back_bit_for_bit(dtype: torch.dtype) -> None:
    weights = parameters(dtype)
    before = [weight.detach().clone() for weight in weights]
    for sign in (1.0, -1.0):
        with perturbed(weights, sign * 0.1, 0, 5):
            for weight, old, offset in zip(weights, before, noise(weights, 0, 5), strict=True):
                torch.testing.assert_close(weight.detach(), old + sign * 0.1 * offset)
            with perturbed(weights, 0.3, 0, 6):
                assert not weights[0].equal(before[0])
    assert all(weight.equal(old) for weight, old in zip(weights, before, strict=True))


def test_also_after_an_exception() -> None:
    weights = parameters()
    before = [weight.detach().clone() for weight in weights]
    with pytest.raises(KeyError), perturbed(weights, 1.0, 0, 5):
        raise KeyError
    assert all(weight.equal(old) for weight, old in zip(weights, before, strict=True))


def test_gradients_may_be_taken_inside() -> None:
    weights = parameters()
    with perturbed(weights, 1.0, 0, 5):
        assert torch.is_grad_enabled()
        torch.autograd.backward(weights[1].square().sum())
    assert weights[1].grad is not None


def test_noise_is_standard_normal_and_uncorrelated_between_parameters() -> None:
    same = [nn.Parameter(torch.zeros(100, 100)) for _ in range(2)]
    one, other = noise(same, 1, 2)
    assert abs(float(one.mean())) < 0.04
    assert abs(float(one.std()) - 1) < 0.03
    assert abs(float((one * other).mean())) < 0.04


def test_noise_depends_on_all_coordinates_alone() -> None:
    weights = parameters()
    first = [offset.clone() for offset in noise(weights, 3, 7)]
    torch.rand(5)
    assert all(a.equal(b) for a, b in zip(first, noise(weights, 3, 7), strict=True))
    for other in ((3, 8), (4, 7), (7, 3)):
        assert not first[0].equal(next(iter(noise(weights, *other))))


def test_weighted_sum_of_noise() -> None:
    weights = parameters(torch.float64)
    weighted_sum(weights, [(2.0, (0, 1)), (-0.5, (0, 2))])
    expected = [2 * a - 0.5 * b for a, b in zip(noise(weights, 0, 1), noise(weights, 0, 2), strict=True)]
    for weight, total in zip(weights, expected, strict=True):
        assert weight.grad is not None
        torch.testing.assert_close(weight.grad, total, rtol=0, atol=1e-12)


def test_the_estimate_points_along_the_gradient_of_a_quadratic() -> None:
    """E[(F(w + s e) - F(w - s e)) e / 2s] is the gradient: antithetic pairs on a bowl."""
    weights = [nn.Parameter(torch.tensor([1.0, -2.0, 3.0, 0.5], dtype=torch.float64))]
    target = torch.tensor([0.0, 1.0, -1.0, 0.5], dtype=torch.float64)

    def bowl() -> float:
        return float((weights[0].detach() - target).square().sum())

    estimates = []
    for seed in range(2000):
        values = []
        for sign in (1.0, -1.0):
            with perturbed(weights, sign * 0.1, 0, seed):
                values.append(bowl())
        estimates.append(((values[0] - values[1]) / 0.2 / 2000, (0, seed)))
    weighted_sum(weights, estimates)
    true = 2 * (weights[0].detach() - target)
    assert weights[0].grad is not None
    assert float(nn.functional.cosine_similarity(weights[0].grad, true, dim=0)) > 0.99
    torch.testing.assert_close(weights[0].grad, true, rtol=0, atol=1.0)
