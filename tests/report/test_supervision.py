"""What supervised rows were trained on, in words."""

from __future__ import annotations

from typing import Any

import pytest

from harness.report.supervision import taught
from harness.spec.benchmark import DataUse
from harness.spec.results.train import TaughtRows

NONE = {"completion": 0, "chosen": 0, "undesirable": 0, "without": 0}


@pytest.mark.parametrize(
    ("counts", "use", "says"),
    [
        ({"completion": 30}, {}, "the demonstrations of 30 rows"),
        ({"chosen": 480}, {"kind": "preferences"}, "the chosen answers of 480 pairs"),
        (
            {"completion": 3, "chosen": 1, "without": 2},
            {"kind": "preferences"},
            "the demonstrations of 3 rows and the chosen answers of 1 pair; it left out 2 rows without a demonstration",
        ),
        (
            {"completion": 8, "undesirable": 1},
            {"kind": "unpaired_preferences"},
            "the desirable completions of 8 rows; it left out 1 row with an undesirable completion",
        ),
        ({"completion": 5}, {"kind": "references", "train_on_reference": 2}, "reference 2 of 5 rows"),
    ],
)
def test_each_kind_has_its_words(counts: dict[str, int], use: dict[str, Any], says: str) -> None:
    data = DataUse(dataset="tales", split="train", **use)
    assert taught(TaughtRows(**{**NONE, **counts}), data) == says
