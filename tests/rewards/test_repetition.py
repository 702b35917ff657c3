from __future__ import annotations

import pytest

from harness_plugins.rewards.repetition import RepetitionOptions, repetition_reward


def call(completions: list[str], **options: int) -> list[float | None]:
    reward = repetition_reward(RepetitionOptions(**options))
    return reward(prompts=[""] * len(completions), completions=completions, completion_ids=[[]] * len(completions))


def test_minus_the_share_of_repeated_ngrams() -> None:
    # a b c a b c: trigrams abc bca cab abc, one of four repeated
    assert call(["a b c a b c", "a b c d"]) == [-0.25, 0.0]
    assert call(["a a a a"], ngram_size=1) == [-0.75]


def test_nothing_is_repeated_in_a_short_or_empty_completion() -> None:
    assert call(["a b", ""]) == [0.0, 0.0]


def test_case_and_punctuation_are_tokens() -> None:
    assert call(["stop. stop. stop."], ngram_size=2) == [pytest.approx(-3 / 5)]
    assert call(["Stop stop"], ngram_size=1) == [0.0]


def test_the_size_is_positive() -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        RepetitionOptions(ngram_size=0)
