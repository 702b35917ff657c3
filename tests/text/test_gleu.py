from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from harness_plugins.text import gleu as module
from harness_plugins.text.gleu import GleuScorer, corpus_gleu
from harness_plugins.text.tokenise13a import tokenise_13a

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pytest

WORDS = ["the", "cat", "sat", "on", "mat.", "it's", "3,000", "a-b", "&quot;x&quot;", "dog"]


def oracle(answers: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[list[float], float]:
    from nltk.translate.gleu_score import corpus_gleu as nltk_corpus
    from nltk.translate.gleu_score import sentence_gleu

    tokens = [tokenise_13a(answer) for answer in answers]
    known = [[tokenise_13a(text) for text in texts] for texts in references]
    sentences = [sentence_gleu(texts, answer) for answer, texts in zip(tokens, known, strict=True)]
    return sentences, nltk_corpus(known, tokens)


def ours(answers: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[list[float | None], float | None]:
    matches = GleuScorer().matches(answers, references)
    return [None if match is None else match.score for match in matches], corpus_gleu(matches)


def test_bit_equal_to_nltk_on_random_texts_with_several_references() -> None:
    rng = np.random.default_rng(3)
    answers, references = [], []
    for _ in range(1_500):
        count = int(rng.integers(1, 4))
        texts = [" ".join(rng.choice(WORDS, size=int(n))) for n in rng.integers(0, 12, size=count + 1)]
        answers.append(texts[0])
        references.append(tuple(texts[1:]))
    assert ours(answers, references) == oracle(answers, references)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=50), st.lists(st.text(max_size=50), min_size=1, max_size=3))
def test_bit_equal_to_nltk_on_any_text(answer: str, references: list[str]) -> None:
    for known in (references, [*references, answer], [answer + references[0]]):
        assert ours([answer], [known]) == oracle([answer], [known])


def test_bit_equal_to_nltk_on_real_answers(real_data: Path) -> None:
    with gzip.open(real_data / "dolly" / "databricks-dolly-15k.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line, _ in zip(lines, range(300), strict=False)]
    answers = [" ".join((row["context"] or row["instruction"]).split()[:80]) for row in rows]
    references = [(row["response"], row["instruction"]) for row in rows]
    assert ours(answers, references) == oracle(answers, references)


def test_missing_references_are_left_out_of_the_corpus() -> None:
    both = ours(["a b", "c", "a x"], [("a b",), (), ("a y",)])
    assert both[0][1] is None
    assert both[1] == oracle(["a b", "a x"], [("a b",), ("a y",)])[1]
    assert ours(["a"], [()]) == ([None], None)
    assert ours([], []) == ([], None)


def test_two_empty_texts_score_zero() -> None:
    assert ours(["", "a"], [("",), ("a",)]) == ([0.0, 1.0], 1.0)


def test_forgetting_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [f"a b c{i}" for i in range(30)] * 2
    references = [(f"a c{i} b", "a b") for i in range(30)] * 2
    expected = ours(answers, references)
    monkeypatch.setattr(module, "_MOST_REFERENCES", 3)
    assert ours(answers, references) == expected


def test_tokens_are_those_of_sacrebleu() -> None:
    from sacrebleu.metrics.bleu import BLEU

    line = "It's 3,000-odd (\u201cwords\u201d), &amp; more.  "
    assert tokenise_13a(line) == ("It's", "3,000", "-", "odd", "(", "\u201cwords\u201d", ")", ",", "&", "more", ".")
    assert BLEU().sentence_score(line, [line]).sys_len == len(tokenise_13a(line))
