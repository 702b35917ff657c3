"""The checks that posttune-harness ships, called for each plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from harness_es import es, overlap, sums

from harness.testing import check_dataset, check_method, check_metric, check_reward

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_method(temperature: float) -> None:
    (registration,) = es.harness_register_methods()
    check_method(registration, {"sigma": 0.1, "pairs": 2, "temperature": temperature})


def test_the_reward() -> None:
    (registration,) = overlap.harness_register_rewards()
    check_reward(registration)


def test_the_metric() -> None:
    (registration,) = overlap.harness_register_metrics()
    check_metric(registration, {"lowercase": False})


def test_the_data_set(tmp_path: Path) -> None:
    (registration,) = sums.harness_register_datasets()
    check_dataset(registration, tmp_path)


def test_token_f1() -> None:
    assert overlap.token_f1("the cat", "The cat sat") == pytest.approx(0.8)
    assert overlap.token_f1("", "yes") == overlap.token_f1("no", "yes") == 0.0
