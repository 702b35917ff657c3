"""Exposure bias from losses that a model gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from harness.api import NoOptions
from harness_plugins.metrics.exposure_bias import ExposureBias


@dataclass
class Losses:
    """Gives each sample the losses of its text."""

    table: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def prefix_nll(self, samples: Any) -> Any:
        return [self.table.get(sample.text, []) for sample in samples]


def test_means_begin_at_the_second_position(samples: Any) -> None:
    services: Any = Losses(
        {"a": [(9.0, 9.0), (1.0, 3.0), (2.0, 3.0)], "b": [(9.0, 9.0)], "c": [(1.0, 1.0), (4.0, 3.0)]}
    )
    result = ExposureBias(NoOptions()).score(samples([("a", ["r"]), ("b", ["r"]), ("c", ["r"]), ("d", [])]), services)
    assert result.values == {
        "own": [1.5, None, 4.0, None],
        "drawn": [3.0, None, 3.0, None],
        "gap": [1.5, None, -1.0, None],
    }
    assert result.corpus == {"gap 2-4": pytest.approx(2 / 3)}  # over the tokens: 2, 1 and -1


def test_positions_fall_into_their_buckets(samples: Any) -> None:
    services: Any = Losses({"long": [(0.0, float(position)) for position in range(1, 41)]})
    result = ExposureBias(NoOptions()).score(samples([("long", ["r"])]), services)
    assert result.corpus == {
        "gap 2-4": 3.0, "gap 5-8": 6.5, "gap 9-16": 12.5, "gap 17-32": 24.5, "gap past 32": 36.5,
    }  # fmt: skip


def test_nothing_to_score(samples: Any) -> None:
    services: Any = Losses()
    result = ExposureBias(NoOptions()).score(samples([]), services)
    assert result.values == {"own": [], "drawn": [], "gap": []}
    assert result.corpus == {}
