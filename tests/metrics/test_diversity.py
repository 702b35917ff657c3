from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from harness_plugins.metrics.diversity import Diversity, DiversityOptions
from harness_plugins.text.tokenise13a import tokenise_13a


def test_by_hand(samples: Any, services: Any) -> None:
    result = Diversity(DiversityOptions(repetition_size=2)).score(
        samples([("a a a b", []), ("a b", []), ("", [])]), services
    )
    assert result.values["distinct1"] == [2 / 4, 1.0, None]
    assert result.values["distinct2"] == [2 / 3, 1.0, None]
    assert result.values["distinct3"] == [1.0, None, None]
    assert result.values["repetition"] == [pytest.approx(1 / 3), 0.0, None]
    assert result.corpus == {"distinct1": 2 / 6, "distinct2": 2 / 4, "distinct3": 1.0, "repetition": 1 / 4}


def test_against_a_plain_count_on_real_texts(samples: Any, services: Any, real_pairs: Any) -> None:
    result = Diversity(DiversityOptions()).score(samples(real_pairs), services)
    answers = [tokenise_13a(answer) for answer, _ in real_pairs]
    for order, name in ((1, "distinct1"), (2, "distinct2"), (3, "distinct3")):
        counts = [Counter(" ".join(t[i : i + order]) for i in range(len(t) - order + 1)) for t in answers]
        assert result.values[name] == [len(c) / c.total() if c else None for c in counts]
        assert result.corpus[name] == len(set().union(*counts)) / sum(c.total() for c in counts)
    fours = [Counter(tuple(t[i : i + 4]) for i in range(len(t) - 3)) for t in answers]
    repeated = [sum(n - 1 for n in c.values()) for c in fours]
    assert result.values["repetition"] == [
        pytest.approx(r / c.total()) if c else None for r, c in zip(repeated, fours, strict=True)
    ]
    assert result.corpus["repetition"] == sum(repeated) / sum(c.total() for c in fours)


def test_nothing_to_count_leaves_the_corpus_out(samples: Any, services: Any) -> None:
    assert Diversity(DiversityOptions()).score(samples([("", []), ("  ", [])]), services).corpus == {}
