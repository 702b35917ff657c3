"""Losses behind own and drawn beginnings, against a forward of each beginning alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from lm.ragged import sharpen

from harness.stages import exposure
from harness.stages.exposure import prefix_losses
from harness.testing.tiny import tiny_policy
from harness.text.encode import Answer, EncodedRow

if TYPE_CHECKING:
    from harness.lm.model.policy import Policy

PROMPTS = ([5, 9, 2], [7], [3, 3, 8, 1, 4], [6, 2])
REFERENCES = ([4, 8, 1, 6, 2], [9, 3], [2, 2, 7], [5])
ANSWERS: tuple[list[int], ...] = ([4, 7, 7], [9, 3, 5, 5, 6, 1], [], [1, 1])


@pytest.fixture(scope="module")
def policy() -> Policy:
    return sharpen(tiny_policy())


def rows(policy: Policy) -> list[EncodedRow]:
    return [
        EncodedRow(
            id=str(place),
            prompt=np.array(prompt, dtype=np.int32),
            text="",
            completion=Answer(np.array([*reference, policy.eos_id], dtype=np.int32), finished=True),
        )
        for place, (prompt, reference) in enumerate(zip(PROMPTS, REFERENCES, strict=True))
    ]


def loss(policy: Policy, before: list[int], token: int) -> float:
    ids = torch.tensor([before])
    logits = policy.model(input_ids=ids, position_ids=torch.arange(len(before))[None], use_cache=False).logits
    return -float(policy.restrict(logits[0, -1:]).double().log_softmax(-1)[0, token])


@torch.no_grad()
def one_by_one(policy: Policy, prompt: list[int], reference: list[int], answer: list[int]) -> list[tuple[float, float]]:
    target = [*reference, policy.eos_id]
    return [
        (loss(policy, prompt + target[:t], target[t]), loss(policy, prompt + answer[:t], target[t]))
        for t in range(min(len(target), len(answer) + 1))
    ]


@pytest.mark.parametrize("tokens", [1, 40, 10**6])
def test_each_position_is_that_of_a_forward_alone(policy: Policy, tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposure, "training_tokens", lambda _policy: tokens)  # one pair a forward, some, and all
    told: list[tuple[int, int]] = []
    found = prefix_losses(policy, rows(policy), ANSWERS, lambda done, total: told.append((done, total)))
    assert [len(each) for each in found] == [4, 3, 1, 2]
    for place, each in enumerate(found):
        expected = one_by_one(policy, PROMPTS[place], REFERENCES[place], ANSWERS[place])
        np.testing.assert_allclose(each, expected, rtol=0, atol=1e-9)
        assert each[0][0] == pytest.approx(each[0][1], abs=1e-12)  # nothing was drawn yet
    assert told[-1] == (4, 4)
    assert max(abs(mine - theirs) for each in found for mine, theirs in each) > 0.1


def test_who_answers_with_the_reference_has_no_gap(policy: Policy) -> None:
    found = prefix_losses(policy, rows(policy), REFERENCES)
    assert [len(each) for each in found] == [6, 3, 4, 2]
    for each in found:
        np.testing.assert_allclose([mine for mine, _ in each], [theirs for _, theirs in each], rtol=0, atol=1e-12)


def test_no_pairs(policy: Policy) -> None:
    assert prefix_losses(policy, [], []) == []
