from __future__ import annotations

from typing import Any

from harness.api import NoOptions
from harness_plugins.metrics.gleu import Gleu
from harness_plugins.text.tokenise13a import tokenise_13a


def test_equals_nltk_on_real_texts(samples: Any, services: Any, real_pairs: Any) -> None:
    from nltk.translate.gleu_score import corpus_gleu, sentence_gleu

    result = Gleu(NoOptions()).score(samples(real_pairs), services)
    answers = [tokenise_13a(answer) for answer, _ in real_pairs]
    references = [[tokenise_13a(text) for text in known] for _, known in real_pairs]
    assert result.values["gleu"] == [sentence_gleu(k, a) for k, a in zip(references, answers, strict=True)]
    assert result.corpus == {"gleu": corpus_gleu(references, answers)}


def test_the_corpus_is_no_mean_of_sentences(samples: Any, services: Any) -> None:
    result = Gleu(NoOptions()).score(samples([("a b c d e f", ["a b c d e f"]), ("x", ["y"])]), services)
    assert result.values["gleu"] == [1.0, 0.0]
    assert result.corpus["gleu"] == 18 / 19  # 18 n-grams match, and one does not


def test_missing(samples: Any, services: Any) -> None:
    result = Gleu(NoOptions()).score(samples([("a", []), ("", ["b"])]), services)
    assert result.values["gleu"] == [None, 0.0]
    assert result.corpus == {"gleu": 0.0}
    assert Gleu(NoOptions()).score(samples([("a", [])]), services).corpus == {}
