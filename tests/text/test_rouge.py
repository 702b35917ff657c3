from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness_plugins.text import rouge as module
from harness_plugins.text.rouge import RougeScorer, Variant, unread

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

VARIANTS: tuple[Variant, ...] = get_args(Variant)

#: Words and word-like things on which tokenisers and stemmers differ, cut at single spaces.
TEXT = (
    "the a is on of it cat cats cat's dog dogs! Running runs ran runner relational conditional valency dies dying "
    "skies sky news proceed exceeding agreed feed plastered bled motoring sing hopping tanned falling hissing fizzed "
    "failing filing happy relate digitizer conformabli radicalli differentli vileli analogousli vietnamization "
    "3.14 1,000 x2 e-mail don't U.S.A. NaN \u00dcBER \u0130stanbul \u212aelvin stra\u00dfe \ufb01ne na\u00efve"
    " \u6771\u4eac \U0001f600 \u03a3\u038a\u03a3\u2019s -- ... caf\u00e9 a\u0301b no\u00a0break zero\u200bwidth "
    "under_score CamelCase \x1cfile \u2028line tab\tbed new\nline \x00nul"
)
PIECES = TEXT.split(" ")


def oracle(targets: Sequence[str], predictions: Sequence[str], *, stemmer: bool) -> dict[str, list[float | None]]:
    """Return what rouge-score says, but for texts that it cannot read: there is nothing that it could say of them."""
    from rouge_score.rouge_scorer import RougeScorer as Official

    official = Official(list(VARIANTS), use_stemmer=stemmer)
    every = [official.score(target, prediction) for target, prediction in zip(targets, predictions, strict=True)]
    lost = [unread(target) or unread(prediction) for target, prediction in zip(targets, predictions, strict=True)]
    return {
        variant: [None if gone else score[variant].fmeasure for gone, score in zip(lost, every, strict=True)]
        for variant in VARIANTS
    }


def ours(targets: Sequence[str], predictions: Sequence[str], *, stemmer: bool) -> dict[str, list[float | None]]:
    scorer = RougeScorer(stemmer=stemmer)
    return {variant: scorer.scores(variant, predictions, [(target,) for target in targets]) for variant in VARIANTS}


@pytest.mark.parametrize("stemmer", [True, False])
def test_bit_equal_to_rouge_score_on_random_pairs(stemmer: bool) -> None:  # noqa: FBT001  # a parameter of the test
    rng = np.random.default_rng(7)
    # a few common pieces and many rare ones, so that long common subsequences and repeated n-grams occur
    weights = 1.0 / np.arange(1, len(PIECES) + 1)
    lengths = rng.integers(0, 18, size=(500, 2))
    texts = [
        [" ".join(rng.choice(PIECES, size=n, p=weights / weights.sum())) for n in pair] for pair in lengths.tolist()
    ]
    targets, predictions = zip(*texts, strict=True)
    assert ours(targets, predictions, stemmer=stemmer) == oracle(targets, predictions, stemmer=stemmer)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60), st.text(max_size=60), st.booleans())
def test_bit_equal_to_rouge_score_on_any_text(target: str, prediction: str, stemmer: bool) -> None:  # noqa: FBT001  # drawn
    both = f"{target} {prediction}"
    for first, second in ((target, prediction), (both, prediction), (both, f"{prediction} {target}")):
        assert ours([first], [second], stemmer=stemmer) == oracle([first], [second], stemmer=stemmer)


def test_bit_equal_to_rouge_score_on_real_answers(real_data: Path) -> None:
    with gzip.open(real_data / "dolly" / "databricks-dolly-15k.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line, _ in zip(lines, range(150), strict=False)]
    targets = [row["response"] for row in rows]
    predictions = [" ".join((row["context"] or row["instruction"]).split()[:80]) for row in rows]
    assert ours(targets, predictions, stemmer=True) == oracle(targets, predictions, stemmer=True)


@pytest.mark.parametrize(
    ("target", "prediction", "expected"),
    [
        ("the cat is on the mat", "the cat sat on the mat", {"rouge1": 5 / 6, "rouge2": 0.6, "rougeL": 5 / 6}),
        ("run dog", "Running dogs!", {"rouge1": 1.0, "rouge2": 1.0, "rougeL": 1.0}),
        ("the cat", "", {"rouge1": 0.0, "rouge2": 0.0, "rougeL": 0.0}),
        ("", "the cat", {"rouge1": 0.0, "rouge2": 0.0, "rougeL": 0.0}),
    ],
)
def test_golden(target: str, prediction: str, expected: dict[str, float]) -> None:
    for variant in VARIANTS:
        assert RougeScorer().scores(variant, [prediction], [[target]]) == [pytest.approx(expected[variant], abs=1e-15)]


def test_words_of_three_characters_are_not_stemmed() -> None:
    # Porter makes "as" -> "a" and "dies" -> "die"; only the second has more than three characters
    assert RougeScorer().scores("rouge1", ["its", "dies"], [["it"], ["die"]]) == [0.0, 1.0]


def test_each_measure_takes_its_own_best_reference() -> None:
    from rouge_score.rouge_scorer import RougeScorer as Official

    references = ("d c b a", "a b x y z u v w", "b a")
    official = Official(list(VARIANTS), use_stemmer=True).score_multi(references, "a b c d")
    scorer = RougeScorer()
    got = {variant: scorer.scores(variant, ["a b c d"], [references]) for variant in VARIANTS}
    assert got == {variant: [official[variant].fmeasure] for variant in VARIANTS}
    assert got["rouge1"] != got["rougeL"]  # the best reference is not the same one


def test_no_reference_is_missing_and_not_zero() -> None:
    assert RougeScorer().scores("rougeL", ["a", "b"], [(), ("b",)]) == [None, 1.0]


def test_answers_do_not_depend_on_order_company_or_history() -> None:
    answers = ["one two three", "two one", "", "three three three", "one two three"]
    references = [("one three",), ("one two", "two"), ("x",), ("three",), ("one three",)]
    for variant in VARIANTS:
        fresh = [
            RougeScorer().scores(variant, [answer], [known])[0]
            for answer, known in zip(answers, references, strict=True)
        ]
        scorer = RougeScorer()
        assert scorer.scores(variant, answers, references) == fresh
        assert scorer.scores(variant, answers[::-1], references[::-1]) == fresh[::-1]
        assert scorer.scores(variant, answers * 2, references * 2) == fresh * 2


def test_forgetting_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [f"word{i} again word{i + 1}" for i in range(50)]
    references = [(f"word{i + 1} word{i}", "again") for i in range(50)]
    expected = RougeScorer().scores("rougeL", answers, references)
    for bound in ("_MOST_STEMS", "_MOST_PIECES", "_MOST_REFERENCES"):
        monkeypatch.setattr(module, bound, 5)
        assert RougeScorer().scores("rougeL", answers, references) == expected


def test_more_stems_than_fit_in_sixteen_bits() -> None:
    # characters beyond U+FFFF and in the surrogate range stand for stems as well as any other
    words = [f"w{i}x" for i in range(70_000)]
    scorer = RougeScorer(stemmer=False)
    scorer.scores("rougeL", [" ".join(words)], [("nothing",)])
    answer, target = words[55_296:55_310] + words[65_530:65_545], words[55_300:55_310] + words[65_530:65_545]
    expected = oracle([" ".join(target)], [" ".join(answer)], stemmer=False)
    for variant in VARIANTS:
        assert scorer.scores(variant, [" ".join(answer)], [(" ".join(target),)]) == expected[variant]
