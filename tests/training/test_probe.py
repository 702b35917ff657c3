"""How far a policy has moved, on demonstrations that are measured together or in parts."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from harness.testing.tiny import tiny_batch, tiny_policy
from harness.training.probe import Probe, fitting


def test_memory_that_runs_out_changes_no_distance() -> None:
    policy = tiny_policy()
    batch = tiny_batch(policy)
    probe = Probe(policy, batch)
    assert probe.compare(policy)[0] == 0
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.mul_(1.1)
    expected = probe.compare(policy)
    assert expected[0] > 1e-3
    failed: list[int] = []

    def before(_module: Any, _inputs: Any, options: dict[str, Any]) -> None:
        if options["input_ids"].numel() > 100:
            failed.append(1)
            raise MemoryError

    body: Any = policy.model.base_model
    body.register_forward_pre_hook(before, with_kwargs=True)
    assert probe.compare(policy) == pytest.approx(expected, abs=1e-12)
    assert failed
    again = len(failed)
    assert probe.compare(policy) == pytest.approx(expected, abs=1e-12)
    assert len(failed) == again  # what was learnt stays


def test_as_many_demonstrations_as_may_be_kept() -> None:
    assert fitting([3, 0, 5], 100) == [0, 2]
    assert fitting([1] * 20, 100) == list(range(8))
    assert fitting([10, 10, 1], 1 << 20) == [0, 2]
