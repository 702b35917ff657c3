"""Entropies where some ids have no token: 0 times minus infinity is 0 there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from lm.ragged import alone, sharpen, some_completions, some_prompts

from harness.lm.model import backbone
from harness.lm.score.log_softmax import ScoringParams
from harness.lm.score.logprobs import score

if TYPE_CHECKING:
    from collections.abc import Callable

HOLES = slice(200, 240)


@pytest.mark.parametrize("by", ["head", "model"])
def test_an_id_without_a_token_adds_nothing(
    make_policy: Callable[..., Any], by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = sharpen(make_policy("gpt2"))
    policy._absent = torch.zeros(policy.vocab_size, dtype=torch.bool)
    policy._absent[HOLES] = True
    if by == "model":  # as where logits are more than a product with the head
        monkeypatch.setattr(backbone, "head_weight", lambda _model: None)
    prompts, completions = some_prompts(policy, [3, 2]), some_completions(policy, [[4, 1], [2, 3]])
    for ids in (prompts.ids, completions.ids):
        ids[(ids >= HOLES.start) & (ids < HOLES.stop)] = 7
    found = score(policy, prompts, completions, ScoringParams(entropy=True), dropout=False)
    assert found.entropy is not None
    for b in range(2):
        for k in range(2):
            logits = alone(policy, prompts, completions, b, k)
            logp = logits[:, ~policy._absent].log_softmax(-1)
            expected = -(logp.exp() * logp).sum(-1)
            torch.testing.assert_close(found.entropy[b, k, : len(logits)], expected, rtol=0, atol=1e-10)
    torch.autograd.backward(found.values.sum())
    assert all(bool(p.grad.isfinite().all()) for p in policy.model.parameters() if p.grad is not None)
