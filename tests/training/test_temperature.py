"""Log-probs at a temperature: outside a loss, inside one, and of the reference model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from training.test_services import services

from harness.lm.score.log_softmax import ScoringParams
from harness.lm.score.logprobs import score
from harness.testing.tiny import tiny_batch, tiny_policy

if TYPE_CHECKING:
    from torch import Tensor

    from harness.api import Batch


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
def test_they_are_those_of_a_forward_at_that_temperature(temperature: float) -> None:
    run, batch = services(), tiny_batch(tiny_policy())
    samples = run.sample(batch, [temperature])
    params = ScoringParams(temperature)
    expected, of_reference = (
        score(tiny_policy(seed), batch.prompts, samples, params, dropout=False).values.detach() for seed in (0, 1)
    )
    inside: list[Any] = []

    def loss(batch: Batch, samples: Any) -> dict[str, Tensor]:
        values = run.logprobs(batch, samples, temperature=temperature, dropout=False).values
        inside.append(values.detach().clone())
        return {"a": -values.sum()}

    outside = run.logprobs(batch, samples, temperature=temperature, dropout=False).values
    reference = run.reference_logprobs(batch, samples, temperature=temperature).values
    run.update(loss, batch=batch, samples=samples)
    for found in (outside, inside[0]):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(reference, of_reference, rtol=0, atol=1e-12)
