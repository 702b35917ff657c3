"""Mistakes that authors of plugins make, each made once: a check says which it was, or the guide why none can."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from testing.mistakes import datasets, methods, texts

from harness.api import Column, DatasetRegistration, MethodRegistration, MetricRegistration, RewardRegistration
from harness.testing import ContractError, check_dataset, check_method, check_metric, check_reward

if TYPE_CHECKING:
    from collections.abc import Callable

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "writing-a-plugin.md"

ABSENT = "an absent reward is used as a reward of 0: a candidate without one changes the weights"

METHODS: list[tuple[type[Any], set[Any], str]] = [
    (methods.MeanOverPadding, {"reward"}, "garbage in the padding changes the weights"),
    (methods.PaddingById, {"reward"}, "garbage in the padding changes the weights"),
    (methods.PromptByWidth, {"reward"}, "garbage in the padding changes the weights"),
    (methods.AbsentIsZero, {"reward"}, ABSENT),
    (methods.AbsentIsWorst, {"reward"}, ABSENT),
    (methods.Good, set(), "the method uses reward(), and its registration does not declare that it needs 'reward'"),
    (methods.UsesReference, {"reward"}, "does not declare that it needs 'reference'"),
    (methods.DrawsByReference, {"reward"}, "does not declare that it needs 'reference'"),
    (
        methods.UsesPairs,
        {"reward"},
        "uses batch.pairs, and its registration does not declare that it needs 'preferences'",
    ),
    (
        methods.UsesLabels,
        {"reward"},
        "uses batch.completions, and its registration does not declare that it needs 'labels'",
    ),
    (methods.SumsLabels, {"reward"}, "uses batch.labels, and its registration does not declare that it needs 'labels'"),
    (methods.UsesCritic, {"reward"}, "does not declare that it needs 'critic'"),
    (methods.OldWithDropout, {"reward"}, "it takes logprobs() with dropout on where no gradient is taken"),
    (methods.LogsLastPart, {"reward"}, "smaller micro-batches change what it logs as 'logp'"),
    (methods.LogsOwnRank, {"reward"}, "the number of ranks changes what it logs as 'spread'"),
    (methods.MeanOfPart, {"reward"}, "smaller micro-batches change the weights"),
    (methods.OwnTotal, {"reward"}, "two ranks do not give what one rank gives"),
    (methods.StateNotSaved, {"reward"}, "resumed after an interruption it gives other weights"),
    (methods.StateNotLoaded, {"reward"}, "resumed after an interruption it gives other weights"),
    (methods.GlobalRandom, {"reward"}, "step() used the global random numbers of torch"),
    (methods.FirstCandidate, {"reward"}, "the order of candidates that were drawn alike changes the weights"),
]

DATASETS: list[tuple[type[Any], str]] = [
    (datasets.SameIds, "the id 'greeting-' is used twice"),
    (datasets.SaltedIds, "comes out differently in another process (does an id or an order come from hash()"),
    (datasets.BlankReference, "a reference is blank"),
    (datasets.TakenColumn, "the column 'prompts' has a name that rewards are called with"),
]

METRICS: list[tuple[type[Any], str]] = [
    (texts.DropsSamples, "column 'shared' has 6 values for 7 answers"),
    (texts.Sorts, "the values of column 'shared' do not follow the order of the answers"),
    (texts.ZeroWithoutReference, "column 'shared' has the value 0.0 for an answer without a reference"),
    (texts.MeanWithZeros, "corpus number 'mean' changes with an answer that has no value"),
    (texts.Scaled, "depends on the other answers"),
    (texts.ReadsColumn, "it reads the column 'category', which its registration does not declare"),
    (texts.AsksScorer, "the metric uses answer_nll(), and its registration does not declare that it needs 'scorer'"),
]

REWARDS: list[tuple[Callable[..., Any], tuple[str, ...], str]] = [
    (texts.not_finite, (), "a reward is a finite number, or None where there is none, and not -inf"),
    (texts.zero_without_reference, ("references",), "has no reference to compare with, and the reward 0.0"),
    (texts.reads_a_column, (), "it reads the column 'references', which its registration does not declare"),
]

#: What passes, with the words by which the guide lists it.
UNSEEN: dict[type[Any], str] = {
    methods.OffByOne: "a token too few",
    methods.NoEnd: "the EOS left out",
    methods.EndTwice: "the EOS counted twice",
    methods.WrongSign: "a wrong sign",
    methods.OneCandidate: "absent rewards as 0 in a mean over prompts",
    datasets.IdsByPlace: "ids by the place in the file",
}


def method(build: Any, needs: set[Any]) -> MethodRegistration:
    return MethodRegistration(name="it", summary="s", build=build, needs=frozenset(needs))


def dataset(build: type[Any]) -> DatasetRegistration:
    target = f"{build.__module__}:{build.__qualname__}"
    return DatasetRegistration(name="it", summary="s", build=target, splits=("train",), generated=True)


def metric(build: type[Any]) -> MetricRegistration:
    return MetricRegistration(
        name="it", summary="s", build=build, columns=(Column("shared", "Shared"),), corpus=(Column("mean", "Mean"),),
        reads=("references",),
    )  # fmt: skip


def reward(function: Any, reads: tuple[str, ...]) -> RewardRegistration:
    return RewardRegistration(name="it", summary="s", build=function, function=True, reads=reads)


def name_of(value: Any) -> str | None:
    return getattr(value, "__name__", None)


def test_what_is_right_passes(tmp_path: Path) -> None:
    check_method(method(methods.Good, {"reward"}))
    check_method(method(methods.UsesLabels, {"reward", "labels"}))
    check_dataset(dataset(datasets.Good), tmp_path)
    check_metric(metric(texts.Good))
    check_reward(reward(texts.good_reward, ("references",)))


@pytest.mark.parametrize(("build", "needs", "message"), METHODS, ids=name_of)
def test_methods(build: Any, needs: set[Any], message: str) -> None:
    with pytest.raises(ContractError, match=re.escape(message)):
        check_method(method(build, needs))


@pytest.mark.parametrize(("build", "message"), DATASETS, ids=name_of)
def test_data_sets(build: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=re.escape(message)):
        check_dataset(dataset(build), tmp_path)


@pytest.mark.parametrize(("build", "message"), METRICS, ids=name_of)
def test_metrics(build: Any, message: str) -> None:
    with pytest.raises(ContractError, match=re.escape(message)):
        check_metric(metric(build))


@pytest.mark.parametrize(("function", "reads", "message"), REWARDS, ids=name_of)
def test_rewards(function: Any, reads: tuple[str, ...], message: str) -> None:
    with pytest.raises(ContractError, match=re.escape(message)):
        check_reward(reward(function, reads))


@pytest.mark.parametrize("words", UNSEEN.values())
def test_what_no_check_can_see_is_listed(words: str) -> None:
    assert words in GUIDE.read_text(encoding="utf-8")


@pytest.mark.long
@pytest.mark.parametrize("build", UNSEEN, ids=name_of)
def test_no_check_sees_it(build: Any, tmp_path: Path) -> None:
    if build.__module__ == datasets.__name__:
        check_dataset(dataset(build), tmp_path)
    else:
        check_method(method(build, {"reward"}))
