"""Perplexity of answers and loss on references, from likelihoods that a model gives."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from harness.api import NoOptions, StageError
from harness_plugins.metrics.perplexity import Perplexity
from harness_plugins.metrics.reference_loss import ReferenceLoss


def test_perplexity_weighs_tokens_and_leaves_empty_answers_missing(samples: Any, services: Any) -> None:
    services.table = {"short": (2.0, 1), "quite long": (9.0, 9)}
    made = samples([("short", []), ("", []), ("quite long", [])])
    result = Perplexity(NoOptions()).score(made, services)
    assert result.values["log_perplexity"] == [2.0, None, 1.0]
    assert result.corpus == {"log_perplexity": 1.1, "perplexity": math.exp(1.1)}  # 11 nats over 10 tokens
    assert [sample.text for sample in services.asked] == ["short", "quite long"]


def test_the_scorer_is_named_in_the_signature(samples: Any, services: Any) -> None:
    assert "|scorer:gpt2 (fixed)|" in Perplexity(NoOptions()).score(samples([]), services).signature


def test_nothing_but_empty_answers(samples: Any, services: Any) -> None:
    result = Perplexity(NoOptions()).score(samples([("", [])]), services)
    assert result.values == {"log_perplexity": [None]}
    assert result.corpus == {}
    assert services.asked == []


def test_an_answer_without_tokens_is_missing(samples: Any, services: Any) -> None:
    services.table = {"\u200b": (0.0, 0)}
    result = Perplexity(NoOptions()).score(samples([("\u200b", [])]), services)
    assert result.values == {"log_perplexity": [None]}
    assert result.corpus == {}


def test_reference_loss_is_asked_once_an_example_and_given_to_all_draws(samples: Any, services: Any) -> None:
    services.table = {"first": (6.0, 3), "other": (1.0, 1)}
    one, two, bare = samples([("x", ["first", "second"]), ("y", ["other"]), ("z", [])])
    made = [one, two, replace(one, draw=1, text="w"), bare, replace(two, draw=1)]
    result = ReferenceLoss(NoOptions()).score(made, services)
    assert result.values["reference_loss"] == [2.0, 1.0, 2.0, None, 1.0]
    assert result.corpus == {"reference_loss": 7 / 4, "reference_perplexity": math.exp(7 / 4)}
    assert len(services.asked) == 2


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_an_error_that_names_the_example(samples: Any, services: Any, bad: float) -> None:
    services.table = {"text": (bad, 2)}
    with pytest.raises(
        StageError, match=r"metric 'perplexity', example '0': the negative log-likelihood is not finite"
    ):
        Perplexity(NoOptions()).score(samples([("text", [])]), services)
    with pytest.raises(StageError, match=r"metric 'reference-loss', example '0': the negative"):
        ReferenceLoss(NoOptions()).score(samples([("x", ["text"])]), services)


def test_a_perplexity_beyond_all_numbers_is_an_error(samples: Any, services: Any) -> None:
    services.table = {"text": (1000.0, 1)}
    with pytest.raises(StageError, match=r"beyond the largest number, got 'exp\(1000\.0\)'"):
        Perplexity(NoOptions()).score(samples([("text", [])]), services)
