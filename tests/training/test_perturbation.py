from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from harness.errors import PluginError
from harness.training.perturbation import Noise, Only, perturbed, weighted_sum


def parameters(dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    source = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=source, dtype=dtype)) for shape in ((40, 30), (30,), (7, 2))]


def noise(weights: list[nn.Parameter], *coordinates: int, rank: int | None = None, only: Only = "all") -> list[Tensor]:
    offsets = [torch.zeros_like(weight) for weight in weights]
    Noise(coordinates, rank, only).add(weights, offsets, 1.0)
    return offsets


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_come_back_bit_for_bit(dtype: torch.dtype) -> None:
    weights = parameters(dtype)
    before = [weight.detach().clone() for weight in weights]
    for sign in (1.0, -1.0):
        with perturbed(weights, sign * 0.1, Noise((0, 5))):
            for weight, old, offset in zip(weights, before, noise(weights, 0, 5), strict=True):
                torch.testing.assert_close(weight.detach(), old + sign * 0.1 * offset)
            with perturbed(weights, 0.3, Noise((0, 6))):
                assert not weights[0].equal(before[0])
    assert all(weight.equal(old) for weight, old in zip(weights, before, strict=True))


def test_also_after_an_exception() -> None:
    weights = parameters()
    before = [weight.detach().clone() for weight in weights]
    with pytest.raises(KeyError), perturbed(weights, 1.0, Noise((0, 5))):
        raise KeyError
    assert all(weight.equal(old) for weight, old in zip(weights, before, strict=True))


def test_gradients_may_be_taken_inside() -> None:
    weights = parameters()
    with perturbed(weights, 1.0, Noise((0, 5))):
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
    first = noise(weights, 3, 7)
    torch.rand(5)
    assert all(a.equal(b) for a, b in zip(first, noise(weights, 3, 7), strict=True))
    for other in ((3, 8), (4, 7), (7, 3)):
        assert not first[0].equal(noise(weights, *other)[0])


def test_weighted_sum_of_noise() -> None:
    weights = parameters(torch.float64)
    weighted_sum(weights, [(2.0, Noise((0, 1))), (-0.5, Noise((0, 2)))])
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
            with perturbed(weights, sign * 0.1, Noise((0, seed))):
                values.append(bowl())
        estimates.append(((values[0] - values[1]) / 0.2 / 2000, Noise((0, seed))))
    weighted_sum(weights, estimates)
    true = 2 * (weights[0].detach() - target)
    assert weights[0].grad is not None
    assert float(nn.functional.cosine_similarity(weights[0].grad, true, dim=0)) > 0.99
    torch.testing.assert_close(weights[0].grad, true, rtol=0, atol=1.0)


def test_noise_of_low_rank_is_a_product_of_two_normal_factors() -> None:
    """E = A B^T / sqrt(r) (arXiv:2511.16652, Eq. 8): of rank r, with entries of variance 1 and kurtosis 3 + 6 / r."""
    weights = [nn.Parameter(torch.zeros(60, 40, dtype=torch.float64)), nn.Parameter(torch.zeros(40))]
    for rank in (1, 3):
        matrix, vector = noise(weights, 0, 1, rank=rank)
        assert int(torch.linalg.matrix_rank(matrix)) == rank
        assert bool(vector.any())
        draws = torch.stack([noise(weights[:1], 7, seed, rank=rank)[0].flatten() for seed in range(400)])
        assert float(draws.var()) == pytest.approx(1.0, abs=0.05)
        assert float((draws**4).mean() / draws.var() ** 2) == pytest.approx(3 + 6 / rank, rel=0.15)
        apart = draws - draws.mean(0)
        assert abs(float((apart[:, 0] * apart[:, 1]).mean())) < 0.25  # neighbours share a factor, and are uncorrelated


def test_a_step_of_low_rank_noise_is_what_perturbed_added() -> None:
    weights = parameters(torch.float64)
    before = [weight.detach().clone() for weight in weights]
    offsets = []
    for seed in (1, 2):
        with perturbed(weights, 1.0, Noise((0, seed), 2)):
            offsets.append([weight.detach() - old for weight, old in zip(weights, before, strict=True)])
    weighted_sum(weights, [(0.5, Noise((0, 1), 2)), (-2.0, Noise((0, 2), 2))])
    for weight, one, other in zip(weights, *offsets, strict=True):
        assert weight.grad is not None
        torch.testing.assert_close(weight.grad, 0.5 * one - 2.0 * other, rtol=0, atol=1e-12)
    assert all(weight.equal(old) for weight, old in zip(weights, before, strict=True))


def test_matrices_alone_may_be_perturbed() -> None:
    weights = parameters()
    before = [weight.detach().clone() for weight in weights]
    with perturbed(weights, 1.0, Noise((0, 1), 1, "matrices")):
        moved = [not weight.equal(old) for weight, old in zip(weights, before, strict=True)]
    assert moved == [True, False, True]
    weighted_sum(weights, [(1.0, Noise((0, 1), 1, "matrices"))])
    assert [weight.grad is not None for weight in weights] == [True, False, True]


@pytest.mark.parametrize(("rank", "only"), [(0, "all"), (1.5, "all"), (None, "biases")])
def test_noise_that_there_is_none_of(rank: int, only: Only) -> None:
    with pytest.raises(PluginError, match="no such"):
        Noise((0, 1), rank, only)
