"""BLEU and chrF are sacrebleu's, number for number."""

from __future__ import annotations

from typing import Any

import pytest
import sacrebleu
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from harness_plugins.metrics.bleu import Bleu, BleuOptions
from harness_plugins.metrics.chrf import Chrf, ChrfOptions


def streams(pairs: Any) -> Any:
    return [[known[n] if n < len(known) else None for _, known in pairs] for n in range(2)]


@pytest.mark.parametrize(
    "options", [{}, {"lowercase": True, "tokenize": "intl"}, {"smooth_method": "add-k"}, {"smooth_method": "floor"}]
)
def test_bleu_is_sacrebleus(samples: Any, services: Any, real_pairs: Any, options: dict[str, Any]) -> None:
    result = Bleu(BleuOptions(**options)).score(samples(real_pairs), services)
    official = BLEU(**options, force=True)
    answers = [answer for answer, _ in real_pairs]
    assert result.corpus == {"bleu": official.corpus_score(answers, streams(real_pairs)).score}
    single = BLEU(**options, effective_order=True)
    assert result.values["bleu"] == [single.sentence_score(answer, list(known)).score for answer, known in real_pairs]


@pytest.mark.parametrize("options", [{}, {"word_order": 2, "beta": 3, "char_order": 4, "lowercase": True}])
def test_chrf_is_sacrebleus(samples: Any, services: Any, real_pairs: Any, options: dict[str, Any]) -> None:
    pairs = real_pairs[:100]
    result = Chrf(ChrfOptions(**options)).score(samples(pairs), services)
    official = CHRF(**options)
    assert result.corpus == {"chrf": official.corpus_score([answer for answer, _ in pairs], streams(pairs)).score}
    assert result.values["chrf"] == [official.sentence_score(answer, list(known)).score for answer, known in pairs]


def test_defaults_are_those_of_the_command_line(samples: Any, services: Any) -> None:
    pairs = [("the cat sat on the mat .", ["the cat is on the mat ."]), ("a dog", ["a dog ran"])]
    answers, references = ["the cat sat on the mat .", "a dog"], [["the cat is on the mat .", "a dog ran"]]
    made = samples(pairs)
    assert Bleu(BleuOptions()).score(made, services).corpus["bleu"] == sacrebleu.corpus_bleu(answers, references).score
    assert Chrf(ChrfOptions()).score(made, services).corpus["chrf"] == sacrebleu.corpus_chrf(answers, references).score
    sentence = sacrebleu.sentence_bleu(answers[0], [references[0][0]]).score
    assert Bleu(BleuOptions()).score(made, services).values["bleu"][0] == sentence


def test_signatures_are_sacrebleus_without_what_belongs_to_the_data(samples: Any, services: Any) -> None:
    pairs = [("a b", ["a b"]), ("a b", ["a b", "c"]), ("a", [])]
    version = sacrebleu.__version__
    for made in (samples(pairs), samples(pairs[:1]), samples(pairs[2:]), samples([])):
        told = Bleu(BleuOptions()).score(made, services).signature
        assert told == f"bleu|case:mixed|eff:no|tok:13a|smooth:exp|version:{version}|sentence-eff:yes"
        told = Chrf(ChrfOptions(word_order=2)).score(made, services).signature
        assert told == f"chrf|case:mixed|eff:yes|nc:6|nw:2|space:no|version:{version}"


def test_missing_and_empty(samples: Any, services: Any) -> None:
    made = samples([("a b c", []), ("", ["a b c"]), ("a b c d", ["a b c d", ""])])
    for metric, name in ((Bleu(BleuOptions()), "bleu"), (Chrf(ChrfOptions()), "chrf")):
        result = metric.score(made, services)
        assert result.values[name][:2] == [None, 0.0]
        assert result.values[name][2] == pytest.approx(100.0)
        assert metric.score(made[:1], services).corpus == {}
