"""Divergences along completions, against sums over the vocabulary that are written out position by position."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from harness.api import Completions, Prompts
from harness.lm.score.divergence import divergence_sums
from harness.testing import tiny_policy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.lm.model.policy import Policy


@pytest.fixture(scope="module")
def two() -> tuple[Policy, Policy]:
    return tiny_policy(0), tiny_policy(1)


def prompts_of(ids: Sequence[Sequence[int]]) -> Prompts:
    width = max(map(len, ids))
    padded = torch.tensor([[*row, *[0] * (width - len(row))] for row in ids])
    return Prompts(padded, torch.tensor([len(row) for row in ids]), tuple(map(str, ids)))


def distributions(policy: Policy, prompt: Sequence[int], answer: Sequence[int]) -> Any:
    """Return the probability (T, V) of every id at every position of an answer, from a forward of that alone."""
    with torch.no_grad():
        logits = policy.restrict(policy.model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0])
    rows = logits[len(prompt) - 1 : len(prompt) - 1 + len(answer)].numpy()
    weights = np.exp(rows - rows.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)


def slow(policy: Policy, other: Policy, prompt: Sequence[int], answer: Sequence[int]) -> list[float]:
    """KL(q || p), KL(p || q) and H(p), summed over positions: the definitions, term by term."""
    if not answer:
        return [0.0, 0.0, 0.0]
    p, q = distributions(policy, prompt, answer), distributions(other, prompt, answer)
    kl = [float(np.sum(a * (np.log(a) - np.log(b)))) for a, b in ((q, p), (p, q))]
    return [*kl, -float(np.sum(p * np.log(p)))]


def ragged(seed: int) -> tuple[list[list[int]], list[list[list[int]]]]:
    """Return up to three prompts with up to three answers each, some of them absent."""
    draw = random.Random(seed)
    prompts = [[draw.randrange(256) for _ in range(draw.randint(1, 9))] for _ in range(draw.randint(1, 3))]
    group = draw.randint(1, 3)
    answers = [[[draw.randrange(257) for _ in range(draw.choice([0, 1, 2, 7]))] for _ in range(group)] for _ in prompts]
    return prompts, answers


def test_sums_are_those_of_the_definition(two: tuple[Policy, Policy]) -> None:
    policy, other = two
    for seed in range(40):
        prompts, answers = ragged(seed)
        found = divergence_sums(policy, other, prompts_of(prompts), Completions.of(answers, eos_id=policy.eos_id))
        expected = [
            [slow(policy, other, prompt, answer) for answer in group]
            for prompt, group in zip(prompts, answers, strict=True)
        ]
        assert found.dtype == torch.float64
        torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-9)


def test_a_model_is_at_distance_0_from_itself(two: tuple[Policy, Policy]) -> None:
    policy = two[0]
    prompts, answers = prompts_of([[5, 6], [7]]), Completions.of([[[1, 2, 3]], [[4]]], eos_id=policy.eos_id)
    for other in (policy, tiny_policy(0)):  # the same object, and equal weights elsewhere
        sums = divergence_sums(policy, other, prompts, answers)
        assert sums[..., :2].tolist() == [[[0.0, 0.0]], [[0.0, 0.0]]]
        assert (sums[..., 2] > 0).all()


def test_forward_and_reverse_change_places_with_the_models(two: tuple[Policy, Policy]) -> None:
    prompts, answers = prompts_of([[5, 6]]), Completions.of([[[1, 2, 3], [9]]], eos_id=two[0].eos_id)
    there, back = divergence_sums(*two, prompts, answers), divergence_sums(*two[::-1], prompts, answers)
    torch.testing.assert_close(there[..., 0], back[..., 1], rtol=1e-12, atol=0)
    torch.testing.assert_close(there[..., 1], back[..., 0], rtol=1e-12, atol=0)


def test_chunks_do_not_matter(two: tuple[Policy, Policy], monkeypatch: pytest.MonkeyPatch) -> None:
    prompts, answers = prompts_of([[5, 6], [7, 8, 9]]), Completions.of([[[1, 2, 3]], [[4, 5]]], eos_id=two[0].eos_id)
    whole = divergence_sums(*two, prompts, answers)
    monkeypatch.setattr("harness.lm.score.divergence.chunk_size", lambda _: 1)
    torch.testing.assert_close(divergence_sums(*two, prompts, answers), whole, rtol=1e-12, atol=0)


def test_models_may_go_different_ways(two: tuple[Policy, Policy], monkeypatch: pytest.MonkeyPatch) -> None:
    """Packed rows have their tokens in another order than padded ones."""
    from harness.lm.score.packing import pack, pad

    policy, other = two
    prompts, answers = prompts_of([[5, 6], [7]]), Completions.of([[[1, 2], [3]], [[4], [5, 6, 7]]], eos_id=256)
    whole = divergence_sums(policy, other, prompts, answers)
    monkeypatch.setattr(
        "harness.lm.score.divergence.prepare", lambda model, *rows: pad(*rows) if model is other else pack(*rows)
    )
    torch.testing.assert_close(divergence_sums(policy, other, prompts, answers), whole, rtol=0, atol=1e-9)


def test_ids_without_a_token_count_for_nothing(two: tuple[Policy, Policy], monkeypatch: pytest.MonkeyPatch) -> None:
    policy, other = two
    prompts, answers = prompts_of([[5, 6]]), Completions.of([[[1, 2, 3]]], eos_id=policy.eos_id)

    def without_7(model: Policy) -> None:
        usual = model.restrict

        def restrict(logits: torch.Tensor) -> torch.Tensor:
            logits = usual(logits).clone()
            logits[..., 7] = -torch.inf
            return logits

        monkeypatch.setattr(model, "restrict", restrict)

    without_7(policy)
    without_7(other)
    found = divergence_sums(policy, other, prompts, answers)[0, 0]
    p, q = (np.delete(distributions(model, [5, 6], [1, 2, 3]), 7, axis=1) for model in two)
    assert found[0].item() == pytest.approx(float(np.sum(q * np.log(q / p))), abs=1e-9)
    assert found[1].item() == pytest.approx(float(np.sum(p * np.log(p / q))), abs=1e-9)
    assert found[2].item() == pytest.approx(-float(np.sum(p * np.log(p))), abs=1e-9)
