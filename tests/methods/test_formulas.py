"""Published identities and golden numbers of the loss functions by themselves."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.api import Rewards
from harness_plugins.methods.drl.losses import advantages, drl_loss
from harness_plugins.methods.eso.losses import eso_loss, importance_weights, prompt_weights
from harness_plugins.methods.rrhf.losses import best, pair_weights, rank_loss
from harness_plugins.methods.unlikelihood.losses import log1mexp, unlikelihood_loss, worst_weights

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

ARMS = torch.tensor([0.3, -0.2, 1.1, 0.0, -0.9], dtype=torch.float64)
ARM_REWARDS = torch.tensor([0.1, 0.9, 0.3, 0.0, 0.55], dtype=torch.float64)
GOLDEN_REWARDS = torch.tensor([[0.05, 0.10, 0.02, 0.03], [0.5, 0.3, 0.2, 0.4]], dtype=torch.float64)
GOLDEN_LOGP = torch.tensor([[-20.0, -25.0, -30.0, -40.0], [-10.0, -12.0, -18.0, -30.0]], dtype=torch.float64)


def alone(x: Tensor | float) -> Tensor:
    return torch.as_tensor(x, dtype=torch.float64)


def given_rewards(values: Tensor) -> Rewards:
    return Rewards(values, torch.ones_like(values, dtype=torch.bool))


# -- ESO


@pytest.mark.parametrize(
    ("threshold", "micro_batch_size", "wanted"), [(None, None, -0.375), (0.1, None, -0.30), (0.1, 8, -0.75)]
)
def test_golden_gate(threshold: float | None, micro_batch_size: int | None, wanted: float) -> None:
    rewards = given_rewards(GOLDEN_REWARDS)
    weights = prompt_weights(rewards.mean()[:, 0], threshold=threshold, micro_batch_size=micro_batch_size, total=alone)
    assert float(eso_loss(GOLDEN_LOGP, rewards.centred(), weights, 1.0)) == pytest.approx(wanted, abs=1e-12)


def test_golden_prompts() -> None:
    for row, wanted in enumerate((-0.45, -0.30)):
        rewards = given_rewards(GOLDEN_REWARDS[row : row + 1])
        one = torch.ones(1, dtype=torch.float64)
        loss = eso_loss(GOLDEN_LOGP[row : row + 1], rewards.centred(), one, 1.0)
        assert float(loss) == pytest.approx(wanted, abs=1e-12)


def test_a_gate_that_no_prompt_passes_gives_zero() -> None:
    means = torch.tensor([0.1, 0.2], dtype=torch.float64)
    for size in (None, 8):
        weights = prompt_weights(means, threshold=0.2, micro_batch_size=size, total=alone)
        assert weights.tolist() == [0, 0]  # strictly larger passes


def test_the_released_gate_works_a_micro_batch_at_a_time() -> None:
    means = torch.tensor([0.0, 0.9, 0.0, 0.0, 0.9], dtype=torch.float64)
    weights = prompt_weights(means, threshold=0.5, micro_batch_size=2, total=alone)
    assert weights.tolist() == pytest.approx([1 / 3, 1 / 3, 0, 0, 1 / 3])


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(st.integers(2, 7), st.integers(0, 10**6))
def test_eso_is_k_minus_one_times_rloo(k: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(3, k, generator=generator, dtype=torch.float64)
    logp = -10 * torch.rand(3, k, generator=generator, dtype=torch.float64)
    weights = torch.full((3,), 1 / 3, dtype=torch.float64)
    rloo = 0.0
    for b in range(3):
        for j in range(k):
            others = [float(values[b, i]) for i in range(k) if i != j]
            rloo -= (float(values[b, j]) - sum(others) / (k - 1)) * float(logp[b, j]) / k / 3
    # RLOO is a mean over the k samples, Eq. 10 a sum: k/(k-1) of the one and 1/k of the other leave 1/(k-1)
    eso = float(eso_loss(logp, given_rewards(values).centred(), weights, 1.0))
    assert eso / (k - 1) == pytest.approx(rloo, rel=1e-12, abs=1e-12)


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(st.floats(-5, 5), st.floats(0.01, 50), st.integers(0, 10**6))
def test_rewards_shift_freely_and_scale_linearly(shift: float, scale: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(2, 4, generator=generator, dtype=torch.float64)
    logp = -10 * torch.rand(2, 4, generator=generator, dtype=torch.float64)
    weights = torch.ones(2, dtype=torch.float64)

    def eso(rewards: Tensor) -> float:
        return float(eso_loss(logp, given_rewards(rewards).centred(), weights, 1.0))

    def drl(rewards: Tensor) -> float:
        every = torch.ones(2, 3, dtype=torch.bool)
        advantage = advantages(rewards[:, 1:], every, "greedy", rewards[:, 0], every[:, 0])
        return float(drl_loss(logp[:, 1:], advantage, weights))

    for loss in (eso, drl):
        assert loss(values + shift) == pytest.approx(loss(values), rel=1e-9, abs=1e-9)
        assert loss(values * scale) == pytest.approx(scale * loss(values), rel=1e-9, abs=1e-9)


def expected_gradient(k: int, temperatures: list[float], term: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
    """Enumerate all k-tuples of arms: sum of probability x gradient of ``term(logp (1, k), rewards (1, k), arms)``."""
    theta = ARMS.clone().requires_grad_()
    summed = torch.zeros(5, dtype=torch.float64)
    for arms in itertools.product(range(5), repeat=k):
        probability = math.prod(
            float((ARMS / temperature).softmax(0)[arm]) for arm, temperature in zip(arms, temperatures, strict=True)
        )
        index = torch.tensor([arms])
        loss = term(theta.log_softmax(0)[index], ARM_REWARDS[index], index)
        (gradient,) = torch.autograd.grad(loss, theta)
        summed += probability * gradient
    return summed


def true_gradient() -> Tensor:
    """Gradient of the expected reward of one arm."""
    theta = ARMS.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((theta.softmax(0) * ARM_REWARDS).sum(), theta)
    return gradient


def eso_term(logp: Tensor, rewards: Tensor, _: Tensor) -> Tensor:
    return eso_loss(logp, given_rewards(rewards).centred(), torch.ones(1, dtype=torch.float64), 1.0)


@pytest.mark.parametrize("k", [2, 3, 4])
def test_expected_gradient_is_the_rewards_times_k_minus_one(k: int) -> None:
    found = expected_gradient(k, [1.0] * k, eso_term)
    torch.testing.assert_close(found, -(k - 1) * true_gradient(), rtol=1e-12, atol=1e-12)


def test_mixed_temperatures_are_biased_and_the_correction_takes_the_bias_away() -> None:
    temperatures = [0.5, 1.0, 2.0]

    def corrected(logp: Tensor, rewards: Tensor, arms: Tensor) -> Tensor:
        behaviour = torch.stack([(ARMS / t).log_softmax(0)[arms[:, j]] for j, t in enumerate(temperatures)], dim=1)
        ratio = importance_weights(logp.detach(), behaviour, cap=None)
        fitness = given_rewards(rewards).centred() * ratio
        return eso_loss(logp, fitness, torch.ones(1, dtype=torch.float64), 1.0)

    biased = expected_gradient(3, temperatures, eso_term)
    assert not torch.allclose(biased, -2 * true_gradient(), rtol=1e-3)
    unbiased = expected_gradient(3, temperatures, corrected)
    torch.testing.assert_close(unbiased, -2 * true_gradient(), rtol=1e-12, atol=1e-12)


def test_truncated_weights_are_capped() -> None:
    target, behaviour = torch.tensor([[0.0, -3.0]]), torch.tensor([[-2.0, -1.0]])
    assert importance_weights(target, behaviour, cap=2.0)[0].tolist() == pytest.approx([2.0, math.exp(-2.0)])


def test_closed_form_of_one_step() -> None:
    """The gradient in a softmax's logits is sum_j (u - R_j) (e_j - p)."""
    theta = ARMS.clone().requires_grad_()
    arms = torch.tensor([[2, 0, 2, 4]])
    loss = eso_term(theta.log_softmax(0)[arms], ARM_REWARDS[arms], arms)
    (gradient,) = torch.autograd.grad(loss, theta)
    mean = float(ARM_REWARDS[arms].mean())
    wanted = torch.zeros(5, dtype=torch.float64)
    for arm in arms[0].tolist():
        wanted += (mean - float(ARM_REWARDS[arm])) * (torch.eye(5, dtype=torch.float64)[arm] - ARMS.softmax(0))
    torch.testing.assert_close(gradient, wanted, rtol=1e-12, atol=1e-12)


# -- DRL


@pytest.mark.parametrize("baseline", ["greedy", "none"])
def test_expected_gradient_of_drl_is_the_rewards(baseline: str) -> None:
    greedy = ARM_REWARDS[ARMS.argmax()].reshape(1)

    def term(logp: Tensor, rewards: Tensor, _: Tensor) -> Tensor:
        every = torch.ones_like(rewards, dtype=torch.bool)
        advantage = advantages(rewards, every, baseline, greedy, every[:, 0])  # type: ignore[arg-type]  # its own values
        return drl_loss(logp, advantage, torch.ones(1, dtype=torch.float64))

    for samples in (1, 3):
        found = expected_gradient(samples, [1.0] * samples, term)
        torch.testing.assert_close(found, -true_gradient(), rtol=1e-12, atol=1e-12)


def test_the_greedy_baseline_needs_the_greedy_rewards() -> None:
    with pytest.raises(ValueError, match="greedy baseline"):
        advantages(torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool), "greedy")


# -- RRHF


def golden_pair(divisors: list[float]) -> float:
    """Two answers of 2 and 4 tokens after a prompt of 2; the longer is the better one."""
    sums = torch.tensor([[-2.551 * 2, -2.537 * 4]], dtype=torch.float64)
    rewards = torch.tensor([[0.1, 0.2]], dtype=torch.float64)
    pairs = pair_weights(rewards, torch.ones(1, 2, dtype=torch.bool), "all", "sum")
    scores = sums / torch.tensor([divisors], dtype=torch.float64)
    return float(rank_loss(scores, pairs, torch.ones(1, dtype=torch.float64)))


def test_golden_padded_lengths() -> None:
    """Over their own lengths the scores -2.551 and -2.537 are in order; over the padded row of 6 they are not."""
    assert golden_pair([2.0, 4.0]) == 0
    assert golden_pair([6.0, 6.0]) == pytest.approx(1.6913333 - 0.8503333, abs=1e-6)


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(st.integers(2, 6), st.integers(0, 10**6))
def test_closed_form_of_the_ranking_gradient(k: int, seed: int) -> None:
    """The slope in p_i is the number of violations as the worse member minus those as the better one."""
    generator = torch.Generator().manual_seed(seed)
    rewards = torch.randint(0, 4, (1, k), generator=generator).double()
    scores = torch.randn(1, k, generator=generator, dtype=torch.float64).requires_grad_()
    pairs = pair_weights(rewards, torch.ones(1, k, dtype=torch.bool), "all", "sum")
    loss = rank_loss(scores, pairs, torch.ones(1, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(loss, scores)
    r, p = rewards[0].tolist(), scores[0].tolist()
    for i in range(k):
        worse = sum(r[i] < r[j] and p[i] > p[j] for j in range(k))
        better = sum(r[j] < r[i] and p[j] > p[i] for j in range(k))
        assert float(gradient[0, i]) == worse - better


def test_scores_in_order_give_no_ranking_loss() -> None:
    rewards = torch.tensor([[0.4, 0.1, 0.3, 0.3]], dtype=torch.float64)
    scores = torch.tensor([[-1.0, -9.0, -2.0, -3.0]], dtype=torch.float64)
    pairs = pair_weights(rewards, torch.ones(1, 4, dtype=torch.bool), "all", "sum")
    assert int((pairs > 0).sum()) == 5  # six pairs, one tied
    assert float(rank_loss(scores, pairs, torch.ones(1, dtype=torch.float64))) == 0


def test_pair_sets_and_means() -> None:
    rewards = torch.tensor([[0.1, 0.3, 0.2], [0.5, 0.5, 0.5]], dtype=torch.float64)
    present = torch.tensor([[True, True, True], [True, True, False]])
    every = pair_weights(rewards, present, "all", "mean")
    assert every[0].nonzero().tolist() == [[0, 1], [0, 2], [2, 1]]
    assert every.sum((1, 2)).tolist() == pytest.approx([1.0, 0.0])
    upper = pair_weights(rewards, present, "upper_triangle", "sum")
    assert upper[0].nonzero().tolist() == [[0, 1], [0, 2]]


def test_best_is_the_first_present_maximum() -> None:
    rewards = torch.tensor([[0.9, 0.4, 0.4], [0.0, 0.0, 0.0]], dtype=torch.float64)
    present = torch.tensor([[False, True, True], [False, False, False]])
    index, found = best(rewards, present)
    assert int(index[0]) == 1
    assert found.tolist() == [True, False]


# -- Unlikelihood


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log1mexp_is_accurate_at_both_ends(dtype: torch.dtype) -> None:
    for x in (-1e-7, -1e-4, -0.3, -0.69, -0.7, -3.0, -30.0, -80.0):
        found = float(log1mexp(torch.tensor(x, dtype=dtype), 1e-20))
        rounded = float(torch.tensor(x, dtype=dtype))
        wanted = math.log(-math.expm1(rounded)) if rounded > -0.6 else math.log1p(-math.exp(rounded))
        assert found == pytest.approx(wanted, rel=1e-6 if dtype == torch.float32 else 1e-14)


@pytest.mark.parametrize("floor", [1e-20, 1e-5, 0.3])
def test_log1mexp_has_finite_slopes_and_none_above_its_floor(floor: float) -> None:
    x = torch.tensor([0.0, -floor / 2, -1e-3, -0.5, -5.0, -200.0], requires_grad=True)
    value = log1mexp(x, floor)
    value.sum().backward()  # type: ignore[no-untyped-call]  # torch has no types here
    assert x.grad is not None
    assert torch.isfinite(value).all()
    assert torch.isfinite(x.grad).all()
    assert x.grad[:2].tolist() == [0, 0]
    assert value[0].item() == pytest.approx(math.log(floor), rel=1e-5)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.lists(st.floats(-12, -1e-3), min_size=1, max_size=6), st.floats(0.1, 3))
def test_unlikelihood_falls_with_every_log_prob(logps: list[float], step: float) -> None:
    mask = torch.ones(1, 1, len(logps), dtype=torch.bool)
    one = torch.ones(1, 1, dtype=torch.float64)
    values = torch.tensor([[logps]], dtype=torch.float64)
    for loss in ("welleck", "logp_down"):
        before, after = (
            float(
                unlikelihood_loss(
                    v,
                    mask,
                    one,
                    loss=loss,
                    length_norm=False,
                    min_one_minus_p=1e-20,
                    min_logp_per_token=None,
                )
            )
            for v in (values, values - step)
        )
        assert after < before


def test_worst_candidate_and_ties() -> None:
    rewards = torch.tensor([[0.2, 0.1, 0.1, 0.9], [0.5, 0.5, 0.5, 0.5], [0.3, 0.0, 0.0, 0.0]], dtype=torch.float64)
    present = torch.tensor([[True] * 4, [True] * 4, [True, False, False, False]])
    assert worst_weights(rewards, present, "share").tolist() == [[0, 0.5, 0.5, 0], [0] * 4, [0] * 4]
    assert worst_weights(rewards, present, "first").tolist() == [[0, 1, 0, 0], [1, 0, 0, 0], [0] * 4]
