"""What ``divergence`` makes of the sums that its services give: whose tokens, over which count, in which direction."""

from __future__ import annotations

import math
from typing import Any

import pytest

from harness.api import Divergence, StageError
from harness.testing import check_metric
from harness_plugins.metrics import divergence
from harness_plugins.metrics.divergence import DivergenceMetric, DivergenceOptions
from harness_plugins.text.share import of_share


def test_forward_is_along_the_starts_answers_and_reverse_along_the_policys(samples: Any, services: Any) -> None:
    own, theirs = samples([("a", []), ("b", [])]), samples([("c", []), ("d", [])])
    services.answers = {"sft": theirs}
    services.apart = {
        ("sft", "a"): Divergence(9.0, 2.0, 6.0, 4), ("sft", "b"): Divergence(9.0, 3.0, 2.0, 1),
        ("sft", "c"): Divergence(1.0, 9.0, 9.0, 2), ("sft", "d"): Divergence(6.0, 9.0, 9.0, 3),
    }  # fmt: skip
    result = DivergenceMetric(DivergenceOptions(to="sft")).score(own, services)
    assert result.values == {
        "forward_kl": [0.5, 2.0], "reverse_kl": [0.5, 3.0], "entropy": [1.5, 2.0], "answer_kl": [2.0, 3.0],
    }  # fmt: skip
    assert result.corpus == {"forward_kl": 7 / 5, "reverse_kl": 1.0, "entropy": 8 / 5}
    assert "|to:sft|" in result.signature


def test_an_answer_without_a_token_is_missing(samples: Any, services: Any) -> None:
    own = samples([("", [])])
    services.answers = {"base": own}
    services.apart = {("base", ""): Divergence(0.0, 0.0, 0.0, 0)}
    result = DivergenceMetric(DivergenceOptions()).score(own, services)
    assert result.values == {name: [None] for name in ("forward_kl", "reverse_kl", "entropy", "answer_kl")}
    assert result.corpus == {}


def test_what_is_not_finite_is_an_error_that_names_the_example(samples: Any, services: Any) -> None:
    own = samples([("a", [])])
    services.answers, services.apart = {"base": own}, {("base", "a"): Divergence(1.0, math.inf, 1.0, 1)}
    with pytest.raises(StageError, match=r"metric 'divergence', example '0': reverse_kl is not finite"):
        DivergenceMetric(DivergenceOptions()).score(own, services)


def test_it_keeps_the_contract() -> None:
    (registration,) = divergence.harness_register_metrics()
    check_metric(registration, {"to": "sft"})


def test_the_columns_say_from_which_row() -> None:
    (registration,) = divergence.harness_register_metrics()
    resolved = registration.resolved(DivergenceOptions(to="sft"))
    assert resolved.models_of == resolved.opponents == ("sft",)
    assert [column.label for column in resolved.columns[:2]] == ["forward KL from sft", "reverse KL from sft"]
    assert [column.name for column in resolved.columns] == [column.name for column in registration.columns]


def test_of_a_share_of_the_prompts(samples: Any, services: Any) -> None:
    own = samples([("ab"[number % 2], []) for number in range(8)])
    asked = of_share(own, 0.5)
    assert 1 < len(asked) < 8
    services.answers = {"base": own}
    services.apart = {("base", text): Divergence(4.0, 2.0, 6.0, 2) for text in {sample.text for sample in asked}}
    result = DivergenceMetric(DivergenceOptions(share=0.5)).score(own, services)
    assert result.values["forward_kl"] == [2.0 if sample in asked else None for sample in own]
    assert result.values["answer_kl"] == [2.0 if sample in asked else None for sample in own]
    assert result.corpus == {"forward_kl": 2.0, "reverse_kl": 1.0, "entropy": 3.0}
    assert "|share:0.5|" in result.signature
    (registration,) = divergence.harness_register_metrics()
    check_metric(registration, {"share": 0.5})


def test_a_smaller_share_is_a_part_of_a_larger_one(samples: Any) -> None:
    made = samples([("x", [])] * 2000)
    assert of_share(made, 1.0) == made
    third, half = of_share(made, 1 / 3), of_share(made, 0.5)
    assert {sample.id for sample in third} < {sample.id for sample in half}
    assert abs(len(half) - 1000) < 80
    assert abs(len(third) - 667) < 80
