"""pass@k against the closed form and against counting every choice of k answers."""

from __future__ import annotations

import itertools
import re
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from harness.api import MetricRegistration, Sample
from harness.testing import check_metric
from harness.testing.registrations import ContractError
from harness_plugins.answers.passing import pass_at_k
from harness_plugins.metrics.pass_at_k import PassAtK, PassAtKOptions, harness_register_metrics

(REGISTRATION,) = harness_register_metrics()


def sample(prompt: int, draw: int, text: str, right: str | None = "7") -> Sample:
    return Sample(f"r{prompt}", draw, "", text, 1, True, (), {"answer": right})


@pytest.mark.parametrize("n", range(1, 9))
def test_it_is_the_share_of_choices_that_hold_a_right_answer(n: int) -> None:
    """The definition, by going through all choices of k among n answers of which c are right."""
    for c in range(n + 1):
        right = [place < c for place in range(n)]
        for k in range(1, n + 1):
            chosen = [any(choice) for choice in itertools.combinations(right, k)]
            assert pass_at_k(n, c, k) == sum(chosen) / len(chosen)


@given(st.integers(1, 300), st.data())
def test_it_is_the_published_product(n: int, data: Any) -> None:
    """1 - prod_{i = n - c + 1}^{n} (1 - k / i), in exact fractions."""
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    product = Fraction(1)
    for i in range(n - c + 1, n + 1):
        product *= 1 - Fraction(k, i)
    expected = Fraction(1) if n - c < k else 1 - product
    assert pass_at_k(n, c, k) == pytest.approx(float(expected), abs=1e-15)


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
def test_it_is_unbiased(p: float) -> None:
    """Its expectation over the number of right answers among n is the chance that one of k is right."""
    import math

    n, k = 8, 4
    chances = [math.comb(n, c) * p**c * (1 - p) ** (n - c) for c in range(n + 1)]
    mean = math.fsum(chance * (pass_at_k(n, c, k) or 0.0) for c, chance in enumerate(chances))
    assert mean == pytest.approx(1 - (1 - p) ** k, abs=1e-12)


def test_what_cannot_be_estimated_is_missing_and_what_cannot_be_is_refused() -> None:
    assert pass_at_k(3, 1, 4) is None
    with pytest.raises(ValueError, match="5 of 4 answers cannot be right"):
        pass_at_k(4, 5, 1)


def test_draws_of_a_prompt_share_its_estimate(services: Any) -> None:
    texts = {0: ["7", "8", "so 7", "9"], 1: ["1", "2", "3", "4"], 2: ["7", "7"]}
    samples = [sample(prompt, draw, text) for prompt, drawn in texts.items() for draw, text in enumerate(drawn)]
    values = PassAtK(PassAtKOptions(kind="number")).score(samples, services).values
    assert values["strict1"] == [1.0, 0.0, 0.0, 0.0] + [0.0] * 4 + [1.0] * 2
    assert values["strict4"] == [1.0] * 4 + [0.0] * 4 + [None] * 2
    assert values["flexible1"] == [1.0, 0.0, 1.0, 0.0] + [0.0] * 4 + [1.0] * 2
    for k, expected in ((2, 0.5), (3, 0.75)):
        (value,) = {*PassAtK(PassAtKOptions(kind="number", k=(k,))).score(samples[:4], services).values[f"strict{k}"]}
        assert value == expected


def test_the_order_of_draws_does_not_matter_and_rows_without_an_answer_count_for_nothing(services: Any) -> None:
    samples = [sample(0, 0, "7"), sample(1, 0, "7", None), sample(0, 1, "8"), sample(1, 1, "7", None)]
    metric = PassAtK(PassAtKOptions(kind="number", k=(1, 2)))
    assert metric.score(samples, services).values["strict2"] == [1.0, None, 1.0, None]
    assert metric.score(samples[::-1], services).values["strict1"] == [None, 0.0, None, 1.0]


def test_columns_and_draws_follow_k() -> None:
    found = REGISTRATION.resolved(PassAtKOptions(k=(2, 8)))
    assert [column.name for column in found.columns] == ["strict2", "strict8", "flexible2", "flexible8"]
    assert (found.draws, REGISTRATION.draws) == (8, 4)
    for k in ((), (4, 1), (1, 1), (0,)):
        with pytest.raises(ValidationError):
            PassAtKOptions(k=k)


@pytest.mark.parametrize("k", [(1,), (1, 4)])
def test_keeps_the_contract(k: tuple[int, ...]) -> None:
    samples = [sample(prompt, draw, str(6 + draw % (prompt + 2))) for draw in range(4) for prompt in range(3)]
    check_metric(REGISTRATION, {"k": list(k)}, samples)


def test_only_a_metric_that_takes_several_draws_may_look_at_them() -> None:
    samples = [sample(0, draw, text) for draw, text in enumerate(["7", "8"])]
    narrow: dict[str, Any] = {**vars(REGISTRATION), "by_options": None, "draws": 1}
    with pytest.raises(ContractError, match=re.escape("depends on the other answers")):
        check_metric(MetricRegistration(**narrow), {}, [*samples, sample(0, 2, "8"), sample(0, 3, "8")])
