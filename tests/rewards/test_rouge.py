from __future__ import annotations

from typing import Any

import pytest
from rouge_score.rouge_scorer import RougeScorer

from harness.api import InputError
from harness_plugins.rewards.rouge import RougeRewardOptions, rouge_reward


def call(options: dict[str, Any], completions: list[str], **columns: Any) -> list[float | None]:
    function = rouge_reward(RougeRewardOptions(**options))
    return function(
        prompts=["p"] * len(completions), completions=completions, completion_ids=[[1]] * len(completions), **columns
    )


@pytest.mark.parametrize("variant", ["rouge1", "rouge2", "rougeL"])
@pytest.mark.parametrize("use_stemmer", [True, False])
def test_equals_the_official_reward(variant: str, use_stemmer: bool) -> None:  # noqa: FBT001  # a parameter of the test
    completions = ["the cats were running home", "a cat ran", "", "Totally other words."]
    targets = ["The cat runs home", "a cat ran", "anything", "no"]
    official = RougeScorer([variant], use_stemmer=use_stemmer)
    expected = [official.score(t, c)[variant].fmeasure for t, c in zip(targets, completions, strict=True)]
    got = call({"variant": variant, "use_stemmer": use_stemmer}, completions, references=[(t,) for t in targets])
    assert got == expected
    assert got[1] == 1.0  # in [0, 1], not in per cent


def test_defaults_are_the_papers() -> None:
    assert RougeRewardOptions() == RougeRewardOptions(variant="rougeL", use_stemmer=True)


def test_missing_references_are_missing_rewards() -> None:
    assert call({}, ["a", "b", "c"], references=[("a",), (), None]) == [1.0, None, None]


def test_one_text_is_as_good_as_a_tuple() -> None:
    assert call({}, ["a b"], references=["a b"]) == call({}, ["a b"], references=[("a b",)]) == [1.0]


def test_other_columns_are_ignored() -> None:
    extra = {"trainer_state": object(), "log_extra": print, "log_metric": print, "category": ["open_qa"]}
    assert call({}, ["a"], references=[("a",)], **extra) == [1.0]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"category": ["x"]}, r"reward 'rouge': the column 'references' is missing, got \['category'\]"),
        ({"references": [("a",), ("b",)]}, "does not fit the completions, got 2; expected 1 entries"),
        ({"references": [(3,)]}, "a reference is not text, got 3"),
    ],
)
def test_bad_columns_are_named(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call({}, ["a"], **columns)
