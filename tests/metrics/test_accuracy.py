from __future__ import annotations

from typing import Any

import pytest

from harness.api import Sample
from harness.testing import check_metric
from harness_plugins.metrics.accuracy import Accuracy, AccuracyOptions, harness_register_metrics

(REGISTRATION,) = harness_register_metrics()


def sample(number: int, text: str, right: Any, draw: int = 0, **columns: Any) -> Sample:
    return Sample(f"r{number}", draw, "", text, 1, True, (), {"answer": right, **columns})


def test_answers_are_right_strictly_or_flexibly(services: Any) -> None:
    samples = [sample(0, "7", "7"), sample(1, "it is 7", "7"), sample(2, "8", "7"), sample(3, "7", None)]
    result = Accuracy(AccuracyOptions(kind="number")).score(samples, services)
    assert result.values == {
        "strict": [1.0, 0.0, 0.0, None],
        "flexible": [1.0, 1.0, 0.0, None],
        "score": [1.0, 0.0, 0.0, None],
    }
    assert result.corpus == {}
    assert result.signature.startswith("accuracy|kind:number|column:answer|posttune-harness:")


def test_the_majority_answer_is_scored_beside(services: Any) -> None:
    rights = ["3", "3", "4", "5"]
    samples = [sample(n, "5", right, majority_answer="3") for n, right in enumerate(rights)]
    result = Accuracy(AccuracyOptions(kind="number", majority=True)).score(samples, services)
    assert result.corpus == {"majority": 0.5}
    assert result.values["strict"] == [0.0, 0.0, 0.0, 1.0]


def test_the_majority_answer_is_read_where_it_is_asked_for() -> None:
    assert REGISTRATION.resolved(AccuracyOptions()).reads == ("answer",)
    asked = REGISTRATION.resolved(AccuracyOptions(majority=True))
    assert asked.reads == ("answer", "majority_answer")
    assert [column.name for column in asked.corpus] == ["majority"]


@pytest.mark.parametrize("options", [{}, {"kind": "exact", "column": "references"}, {"majority": True}])
def test_keeps_the_contract(options: dict[str, Any]) -> None:
    samples = [sample(n, text, "7", n % 2, majority_answer="7") for n, text in enumerate(["7", "so 7", "8", "7.0"])]
    check_metric(REGISTRATION, options, samples)
