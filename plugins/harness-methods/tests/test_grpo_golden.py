"""GRPO's functions against golden numbers: two prompts with three answers each."""

from __future__ import annotations

from typing import Any

import grpo_oracle as oracle
import pytest
import torch
from table_run import Row, golden_rows

from harness.api import Rewards
from harness_methods.grpo import (
    GRPOOptions,
    group_advantages,
    kl_terms,
    overlong_punishment,
    token_losses,
    token_weights,
)


def tensor(rows: list[list[Row]], name: str) -> torch.Tensor:
    """Log-probs of the golden answers, (2, 3, 4), 0 beyond their ends."""
    padded = [[[*getattr(row, name), *[0.0] * (4 - len(row.logps))] for row in group] for group in rows]
    return torch.tensor(padded, dtype=torch.float64)


def golden_rewards(rows: list[list[Row]]) -> Rewards:
    present = torch.tensor([[row.reward is not None for row in group] for group in rows])
    return Rewards(torch.tensor([[row.reward or 0.0 for row in group] for group in rows]).double(), present)


def alone(x: Any) -> torch.Tensor:
    return torch.as_tensor(x)


def value_of(rows: list[list[Row]], o: GRPOOptions, masked: tuple[int, int] | None = None, limit: int = 5) -> float:
    """The loss of the golden answers, through the method's own functions."""
    logp, old, reference = (tensor(rows, name) for name in ("logps", "old", "reference"))
    lengths = torch.tensor([[len(row.logps) for row in group] for group in rows])
    mask = torch.arange(4) < lengths[..., None]
    if masked is not None:
        mask[masked] = False
    advantages = group_advantages(golden_rewards(rows), o, alone)
    ratio, losses, _ = token_losses(logp, old, advantages, mask, o)
    terms = losses + (o.beta * kl_terms(logp, reference, ratio, o) if o.beta else 0.0)
    weights = token_weights(mask.sum(-1).double(), torch.ones(2, 3, dtype=torch.bool), limit, o, alone)
    return float((terms.where(mask, torch.zeros(())).sum(-1) * weights).sum())


@pytest.mark.parametrize(
    ("raw", "absent", "wanted"),
    [
        ({}, False, [0.999750, -0.999750, 0, 0.250275, 0.850937, -1.101212]),
        ({"scale_rewards": "batch"}, False, [0.780320, -0.780320, 0, 0.325133, 1.105453, -1.430587]),
        ({"scale_rewards": "none"}, False, [0.4, -0.4, 0, 0.166667, 0.566667, -0.733333]),
        ({}, True, [0.999750, -0.999750, 0, 0.706996, 0, -0.706996]),
    ],
)
def test_golden_advantages(raw: dict[str, Any], absent: bool, wanted: list[float]) -> None:  # noqa: FBT001  # pytest
    rows = golden_rows()
    if absent:
        rows[1][1].reward = None
    found = group_advantages(golden_rewards(rows), GRPOOptions(**raw), alone)
    assert found.flatten().tolist() == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(
    ("raw", "masked", "wanted"),
    [
        ({}, None, (0.041022, -0.359575, -0.155816, -0.779078)),
        ({"epsilon_high": 0.28}, None, (0.038185, -0.364811, -0.158085, -0.790424)),
        ({"beta": 0.04}, None, (0.042237, -0.358752, -0.155459, -0.777296)),
        ({"beta": 0.04, "use_bias_correction_kl": True}, None, (0.042122, -0.358792, -0.155476, -0.777382)),
        (
            {"importance_sampling_level": "sequence", "epsilon": 0.05, "epsilon_high": 0.08},
            None,
            (0.065697, -0.352570, -0.152780, -0.763901),
        ),
        ({"delta": 1.1}, None, (-0.003587, -0.374735, -0.162385, -0.811926)),
        ({}, (1, 1), (0.190291, -0.121335, -0.036401, None)),
    ],
    ids=str,
)
def test_golden_losses(raw: dict[str, Any], masked: tuple[int, int] | None, wanted: tuple[float | None, ...]) -> None:
    for name, value in zip(("seq_mean", "token_mean", "constant", "seq_sum"), wanted, strict=True):
        if value is not None:
            o = GRPOOptions(**{"beta": 0.0, "loss_reduction": name, **raw})
            assert value_of(golden_rows(), o, masked) == pytest.approx(value, abs=1e-6), name


@pytest.mark.parametrize(
    ("raw", "limit", "wanted"),
    [
        ({"loss_reduction": "token_mean_group"}, 5, -0.351960),
        ({"loss_reduction": "token_mean_micro"}, 5, -0.351960),
        ({"loss_reduction": "constant_sum"}, 4, -1.168617),
        ({"loss_reduction": "constant", "scale_rewards": "none"}, 5, -0.090313),
        ({"loss_reduction": "token_mean_micro", "micro_batch_size": 2}, 5, -0.359575),
    ],
    ids=str,
)
def test_more_golden_losses(raw: dict[str, Any], limit: int, wanted: float) -> None:
    assert value_of(golden_rows(), GRPOOptions(beta=0.0, **raw), limit=limit) == pytest.approx(wanted, abs=1e-6)


def test_golden_punishments() -> None:
    tokens = [6, 7, 8, 10, 11]
    assert overlong_punishment(torch.tensor(tokens), 10, 4).tolist() == [0, -0.25, -0.5, -1, -1]
    assert [oracle.punishment(n, 10, 4) for n in tokens] == [0, -0.25, -0.5, -1, -1]
