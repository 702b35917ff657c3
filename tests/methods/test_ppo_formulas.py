"""PPO's formulas by hand, against golden numbers, by enumeration, and under padding."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness_plugins.methods.ppo.losses import (
    adapted,
    explained_variance,
    gae,
    kl_estimate,
    missing_eos_scores,
    policy_losses,
    token_rewards,
    value_losses,
    whiten,
)

if TYPE_CHECKING:
    from torch import Tensor


def row(*values: float) -> Tensor:
    """One answer of one prompt: (1, 1, T)."""
    return torch.tensor([[list(values)]], dtype=torch.float64)


def close(found: Tensor, *values: float) -> None:
    torch.testing.assert_close(found, row(*values), rtol=0, atol=1e-12)


def alone(x: Any) -> Tensor:
    """What ``Run.total`` gives on one rank."""
    return torch.as_tensor(x, dtype=torch.float64)


REAL = torch.tensor([[[True, True, True]]])


def test_three_tokens_by_hand() -> None:
    """log p -1, -2, -0.5 against -1.2, -1.7, -0.5; values 0.5, 0.4, 0.2; a score of 1; kl_coef 0.1, lambda 0.5."""
    old, values = row(-1, -2, -0.5), row(0.5, 0.4, 0.2)
    kl = kl_estimate(old, row(-1.2, -1.7, -0.5), "k1")
    close(kl, 0.2, -0.3, 0.0)
    rewards = token_rewards(kl, torch.tensor([[1.0]]), torch.tensor([[2]]), 0.1)
    close(rewards, -0.02, 0.03, 1.0)
    # errors -0.12, -0.17, 0.8, from the end: 0.8, -0.17 + 0.5 x 0.8, -0.12 + 0.5 x 0.23
    advantages = gae(rewards, values, 1.0, 0.5)
    close(advantages, -0.005, 0.23, 0.8)
    returns = advantages + values
    close(returns, 0.495, 0.63, 1.0)
    mean = 1.025 / 3
    squares = (-0.005 - mean) ** 2 + (0.23 - mean) ** 2 + (0.8 - mean) ** 2
    assert squares == pytest.approx(0.34271666666666667, abs=1e-15)
    scale = 1 / math.sqrt(squares / 2 + 1e-8)
    whitened = whiten(advantages, REAL, alone, unbiased=True)
    close(whitened, *(scale * (a - mean) for a in (-0.005, 0.23, 0.8)))
    # the second token's ratio 0.74 lies below 0.8, where a negative advantage pushes no further
    ratio = (row(-0.9, -2.3, -0.5) - old).exp()
    losses, clipped = policy_losses(ratio, whitened, 0.2)
    a = [scale * (x - mean) for x in (-0.005, 0.23, 0.8)]
    close(losses, -a[0] * math.exp(0.1), -a[1] * 0.8, -a[2])
    assert clipped.tolist() == [[[False, True, False]]]
    # 0.8 may move to 0.7 only, which is nearer to 0.495: the larger loss holds
    wrong, held = value_losses(row(0.8, 0.3, 0.2), values, returns, 0.2)
    close(wrong, 0.5 * 0.305**2, 0.5 * 0.33**2, 0.5 * 0.8**2)
    assert not held.any()
    wrong, held = value_losses(row(0.1, 0.3, 0.2), values, returns, 0.2)
    close(wrong, 0.5 * 0.395**2, 0.5 * 0.33**2, 0.5 * 0.8**2)
    wrong, held = value_losses(row(0.495, 0.9, 0.9), values, returns, 0.2)
    close(wrong, 0.0, 0.5 * 0.27**2, 0.5 * 0.6**2)
    assert held.tolist() == [[[False, False, True]]]
    free, _ = value_losses(row(0.495, 0.9, 0.9), values, returns, None)
    close(free, 0.0, 0.5 * 0.27**2, 0.5 * 0.1**2)


def test_golden_numbers_of_advantages() -> None:
    values = row(0.5, 0.4, 0.3, 0.2)
    advantages = gae(row(-0.1, 0.2, -0.05, 1.0), values, 1.0, 0.95)
    close(advantages, 0.445525, 0.6795, 0.61, 0.8)
    close(advantages + values, 0.945525, 1.0795, 0.91, 1.0)
    white = whiten(advantages, torch.ones(1, 1, 4, dtype=torch.bool), alone, unbiased=True)
    torch.testing.assert_close(white, row(-1.271708, 0.309049, -0.160499, 1.123159), rtol=0, atol=1e-6)


def test_golden_numbers_of_the_kl() -> None:
    x = row(0.0, 0.5, -1.0)
    close(kl_estimate(x, torch.zeros_like(x), "k1"), 0.0, 0.5, -1.0)
    close(kl_estimate(x, torch.zeros_like(x), "k3"), 0.0, 0.10653065971263342, 0.7182818284590451)


@pytest.mark.parametrize("unbiased", [True, False])
def test_whitening(unbiased: bool) -> None:  # noqa: FBT001
    x = torch.tensor([[[1.0, 2.0, 4.0, 9.0]]], dtype=torch.float64)
    mask = torch.tensor([[[True, True, True, False]]])
    real = x[mask]
    white = whiten(x, mask, alone, unbiased=unbiased)
    deviation = (real.var(unbiased=unbiased) + 1e-8).sqrt()
    torch.testing.assert_close(white[mask], (real - real.mean()) / deviation, rtol=0, atol=1e-12)
    assert not white[~mask].any()
    kept = whiten(x, mask, alone, unbiased=unbiased, shift_mean=False)
    torch.testing.assert_close(kept[mask], (real - real.mean()) / deviation + real.mean(), rtol=0, atol=1e-12)
    assert not kept[~mask].any()


def test_nothing_and_a_single_token_can_be_whitened() -> None:
    for mask in (torch.zeros(1, 1, 3, dtype=torch.bool), torch.tensor([[[True, False, False]]])):
        assert not whiten(row(5, 6, 7), mask, alone, unbiased=True).any()
    assert explained_variance(row(5, 6, 7), row(0, 0, 0), torch.zeros(1, 1, 3, dtype=torch.bool), alone) == 0


def test_statistics_are_those_of_all_ranks() -> None:
    """Two halves with sums of both are one whole."""
    x = torch.randn(4, 1, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(5) < torch.tensor([5, 2, 1, 4])[:, None, None]
    asked: list[list[Tensor]] = [[], []]

    def halves(number: int) -> Tensor:
        """Each half in turn is told what both said, as far as it is known; three rounds settle it."""
        part = slice(2 * number, 2 * number + 2)
        said = iter(range(10))

        def total(value: Any) -> Tensor:
            place, value = next(said), torch.as_tensor(value, dtype=torch.float64)
            asked[number][place:] = [value]
            other = asked[1 - number]
            return torch.as_tensor(value + (other[place] if place < len(other) else 0.0))

        return whiten(x[part], mask[part], total, unbiased=True)

    for _ in range(4):
        found = torch.cat([halves(0), halves(1)])
    torch.testing.assert_close(found, whiten(x, mask, alone, unbiased=True), rtol=0, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=4),
    st.integers(0, 2**31),
    st.sampled_from([0.0, 0.9, 1.0]),
    st.sampled_from([0.0, 0.95, 1.0]),
)
def test_advantages_of_each_answer_by_itself(lengths: list[int], seed: int, gamma: float, lam: float) -> None:
    """Ragged answers in one tensor, padded at either end, are those answers one by one, by the definition."""
    generator = torch.Generator().manual_seed(seed)
    width = max([*lengths, 1]) + 2
    mask = (torch.arange(width) < torch.tensor(lengths)[:, None])[:, None]
    rewards, values = (
        torch.where(mask, torch.randn(mask.shape, generator=generator, dtype=torch.float64), 0.0) for _ in range(2)
    )
    found = gae(rewards, values, gamma, lam)
    assert not found[~mask].any()
    for b, length in enumerate(lengths):
        r, v = rewards[b, 0, :length].tolist(), [*values[b, 0, :length].tolist(), 0.0]
        errors = [r[t] + gamma * v[t + 1] - v[t] for t in range(length)]
        for t in range(length):
            expected = sum((gamma * lam) ** (u - t) * errors[u] for u in range(t, length))
            assert float(found[b, 0, t]) == pytest.approx(expected, abs=1e-12)
        # pushed to the right end, as where padding stands at the left
        shifted, judged = (torch.nn.functional.pad(x[b : b + 1, :, :length], (3, 0)) for x in (rewards, values))
        torch.testing.assert_close(gae(shifted, judged, gamma, lam)[0, 0, 3:], found[b, 0, :length], rtol=0, atol=1e-12)


def test_without_discounts_it_is_reinforce_with_the_value_as_baseline() -> None:
    """gamma = lambda = 1: A_t = rewards to come - V_t; and at ratio 1 the slope in log p is -A / N."""
    generator = torch.Generator().manual_seed(3)
    rewards, values = (torch.randn(3, 2, 6, generator=generator, dtype=torch.float64) for _ in range(2))
    advantages = gae(rewards, values, 1.0, 1.0)
    torch.testing.assert_close(advantages, rewards.flip(-1).cumsum(-1).flip(-1) - values, rtol=0, atol=1e-12)
    old = torch.randn(3, 2, 6, generator=generator, dtype=torch.float64)
    logp = old.clone().requires_grad_()
    losses, clipped = policy_losses((logp - old).exp(), advantages, 0.2)
    (slope,) = torch.autograd.grad(losses.mean(), logp)
    torch.testing.assert_close(slope, -advantages / advantages.numel(), rtol=0, atol=1e-12)
    assert not clipped.any()


@pytest.mark.parametrize(
    ("ratio", "advantage", "pushes"),
    [(1.3, 1.0, False), (1.3, -1.0, True), (0.7, 1.0, True), (0.7, -1.0, False), (1.1, 1.0, True), (0.9, -1.0, True)],
)
def test_regions_of_the_clip(ratio: float, advantage: float, pushes: bool) -> None:  # noqa: FBT001
    x = torch.tensor(ratio, dtype=torch.float64, requires_grad=True)
    losses, clipped = policy_losses(x, torch.tensor(advantage, dtype=torch.float64), 0.2)
    (slope,) = torch.autograd.grad(losses, x)
    assert float(slope) == (-advantage if pushes else 0.0)
    assert bool(clipped) is not pushes


@pytest.mark.parametrize("length", [1, 2])
@pytest.mark.parametrize("kl_coef", [0.0, 0.3])
def test_k1_in_the_reward_is_the_gradient_of_the_kl(length: int, kl_coef: float) -> None:
    """Enumerated over all answers of a three-token vocabulary, the expected update climbs E[score] - kl_coef KL."""
    generator = torch.Generator().manual_seed(length)
    logits = torch.randn(length, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    other = torch.randn(length, 3, generator=generator, dtype=torch.float64).log_softmax(-1)
    policy = logits.log_softmax(-1)
    answers = list(itertools.product(range(3), repeat=length))
    score = {answer: float(torch.rand((), generator=generator)) for answer in answers}
    goal, surrogate = torch.zeros(()), torch.zeros(())
    exact = (policy.exp() * (policy - other)).sum().detach()
    estimates = {"k1": 0.0, "k3": 0.0}
    for answer in answers:
        places = torch.arange(length), torch.tensor(answer)
        logp, reference = policy[places], other[places]
        chance = logp.sum().exp()
        goal = goal + chance * score[answer]
        kl = kl_estimate(logp.detach(), reference, "k1")
        for name in estimates:
            estimates[name] += float(chance.detach() * kl_estimate(logp.detach(), reference, name).sum())  # type: ignore[arg-type]  # both are names
        rewards = token_rewards(
            kl[None, None],
            torch.tensor([[score[answer]]], dtype=torch.float64),
            torch.tensor([[length - 1]]),
            kl_coef,
        )
        advantages = gae(rewards, torch.zeros_like(rewards), 1.0, 1.0)[0, 0]
        losses, _ = policy_losses((logp - logp.detach()).exp(), advantages, 0.2)
        surrogate = surrogate + chance.detach() * losses.sum()
    goal = goal - kl_coef * (policy.exp() * (policy - other)).sum()
    wanted, found = (torch.autograd.grad(x, logits, retain_graph=True)[0] for x in (goal, surrogate))
    torch.testing.assert_close(found, -wanted, rtol=0, atol=1e-12)
    for name, estimate in estimates.items():
        assert estimate == pytest.approx(float(exact), abs=1e-12), name


def test_scores_of_answers_that_were_cut() -> None:
    scores, finished = torch.tensor([[0.5, 0.7]], dtype=torch.float64), torch.tensor([[True, False]])
    assert missing_eos_scores(scores, finished, None, "subtract").tolist() == [[0.5, 0.7]]
    assert missing_eos_scores(scores, finished, 1.0, "subtract").tolist() == [[0.5, pytest.approx(-0.3)]]
    assert missing_eos_scores(scores, finished, 1.0, "replace").tolist() == [[0.5, -1.0]]


@pytest.mark.parametrize(
    ("kl", "factor"), [(6.0, 1.0), (6.6, 1.00064), (60.0, 1.00128), (0.0, 0.99872), (5.4, 0.99936)]
)
def test_the_adaptive_coefficient(kl: float, factor: float) -> None:
    found = adapted(0.15, kl, target=6.0, horizon=10_000.0, answers=64)
    assert found == pytest.approx(0.15 * factor, rel=1e-12)


def test_explained_variance() -> None:
    returns = row(1.0, 2.0, 3.0, 0.0)
    mask = torch.tensor([[[True, True, True, False]]])
    assert explained_variance(returns, returns - 5, mask, alone) == pytest.approx(1.0)
    assert explained_variance(returns, torch.zeros_like(returns), mask, alone) == pytest.approx(0.0)
    assert explained_variance(torch.full_like(returns, 2.0), returns, mask, alone) == 0.0
