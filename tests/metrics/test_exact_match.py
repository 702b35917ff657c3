from __future__ import annotations

from typing import Any

import pytest

from harness_plugins.metrics.exact_match import ExactMatch, ExactMatchOptions


def score(samples: Any, services: Any, pairs: Any, **options: Any) -> list[float | None]:
    return list(ExactMatch(ExactMatchOptions(**options)).score(samples(pairs), services).values["exact_match"])


def test_case_punctuation_and_white_space_do_not_count(samples: Any, services: Any) -> None:
    pairs = [
        ("  New-York,\n N.Y. ", ["newyork ny"]),
        ("42", ["forty", "42."]),
        ("42", ["4 2"]),
        ("", ["!?"]),
        ("caf\u00e9 \u2013 bar", ["CAF\u00c9 \u2013 bar"]),  # only ASCII punctuation goes
        ("caf\u00e9 bar", ["caf\u00e9 \u2013 bar"]),
        ("anything", []),
    ]
    assert score(samples, services, pairs) == [1.0, 1.0, 0.0, 1.0, 1.0, 0.0, None]


@pytest.mark.parametrize(("articles", "expected"), [("keep", [0.0, 1.0, 0.0]), ("remove", [1.0, 1.0, 0.0])])
def test_articles(samples: Any, services: Any, articles: str, expected: list[float]) -> None:
    pairs = [("The answer", ["an answer"]), ("the end", ["The End!"]), ("than", ["th"])]
    assert score(samples, services, pairs, articles=articles) == expected


def test_official_evaluation_is_the_default() -> None:
    assert ExactMatchOptions().articles == "keep"
