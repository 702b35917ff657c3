from __future__ import annotations

from typing import Any

import pytest

from harness_plugins.metrics.rouge import Rouge, RougeOptions


@pytest.mark.parametrize("use_stemmer", [True, False])
def test_equals_the_official_evaluation_on_real_texts(  # best over references for each measure by itself
    samples: Any,
    services: Any,
    real_pairs: Any,
    use_stemmer: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    from rouge_score.rouge_scorer import RougeScorer

    result = Rouge(RougeOptions(use_stemmer=use_stemmer)).score(samples(real_pairs), services)
    for name in ("rouge1", "rouge2", "rougeL"):
        official = RougeScorer([name], use_stemmer=use_stemmer)
        assert result.values[name] == [
            max(official.score(target=known, prediction=answer)[name].fmeasure for known in references)
            for answer, references in real_pairs
        ]


def test_golden(samples: Any, services: Any) -> None:
    pairs = [
        ("the cat is on the mat", ["the cat sat on the mat"]),
        ("run dog", ["Running dogs!"]),
        ("", ["something"]),
        ("no reference", []),
    ]
    values = Rouge(RougeOptions()).score(samples(pairs), services).values
    assert values["rouge1"] == [pytest.approx(0.833333, abs=1e-6), 1.0, 0.0, None]
    assert values["rouge2"] == [pytest.approx(0.6), 1.0, 0.0, None]
    assert values["rougeL"] == [pytest.approx(0.833333, abs=1e-6), 1.0, 0.0, None]


def test_the_signature_tells_options_and_versions(samples: Any, services: Any) -> None:
    from importlib.metadata import version

    told = [
        Rouge(RougeOptions(use_stemmer=s)).score(samples([("a", ["a"])]), services).signature for s in (True, False)
    ]
    assert told[0] == (
        "rouge|refs:best|tok:a-z0-9|stem:porter-nltk|like:rouge-score-0.1.2"
        f"|posttune-harness:{version('posttune-harness')}"
    )
    assert "stem:no" in told[1]
