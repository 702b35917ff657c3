"""The reward check: a good reward passes, each mistake is caught."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from harness.api import RewardRegistration
from harness.testing import ContractError, check_reward
from harness.testing.rewards import COMPLETIONS

if TYPE_CHECKING:
    from collections.abc import Callable


def brevity(completions: list[str], **_: Any) -> list[float | None]:
    return [None if not text.strip() else 1 / (1 + len(text)) for text in completions]


async def slowly(completions: list[str], **_: Any) -> list[float | None]:
    return brevity(completions)


def registration(function: Callable[..., Any], **settings: Any) -> RewardRegistration:
    return RewardRegistration(name="r", summary="s", build=function, function=True, **settings)


def test_good_rewards_pass() -> None:
    check_reward(registration(brevity, range=(0.0, 1.0)))
    check_reward(registration(slowly))
    check_reward(RewardRegistration(name="r", summary="s", build=lambda _options: brevity))


def test_columns_reach_the_reward() -> None:
    def matches(completions: list[str], answer: list[str], **_: Any) -> list[float]:
        return [float(text == right) for text, right in zip(completions, answer, strict=True)]

    matching = registration(matches, reads=("answer",))
    check_reward(matching, columns={"answer": ["yes"] * len(COMPLETIONS)})
    with pytest.raises(ValueError, match=r"the reward reads \['answer'\]: give them as columns="):
        check_reward(matching)


def ranked(completions: list[str], **_: Any) -> list[float]:
    return [float(sorted(completions).index(text)) for text in completions]


def positional(prompts: list[str], completions: list[str], completion_ids: list[list[int]]) -> list[float]:
    return [0.0 for _ in completions]


def draws(completions: list[str], **_: Any) -> list[float]:
    return [random.random() * 0 for _ in completions]


def changes(completions: list[str], references: list[Any], **_: Any) -> list[float]:
    values = [float(len(text)) for text in completions]
    references.clear()
    return values


def first_only(completions: list[str], **_: Any) -> list[float]:
    return [1.0] if completions else []


@pytest.mark.parametrize(
    ("function", "settings", "message"),
    [
        (ranked, {}, "depends on the other answers of the call"),
        (draws, {}, "calling it used the global random numbers of random"),
        (changes, {"may_read": ("references",)}, "it changed what it was given"),
        (first_only, {}, "it must return a list with one entry an answer"),
        (brevity, {"range": (0.0, 0.1)}, "is outside its range (0.0, 0.1)"),
        (lambda completions, **_: [float("nan")] * len(completions), {}, "a reward is a finite number"),
        (lambda completions, **_: ["high"] * len(completions), {}, "a reward is a finite number"),
        (lambda completions, **_: dict.fromkeys(completions, 1.0), {}, "it must return a list"),
        (lambda completions, **_: [float(len(completions))] * len(completions), {}, "depends on the other answers"),
        (lambda completions, **_: [0.0] * (len(completions) or 1), {}, "it must return a list with one entry"),
    ],
)
def test_a_mistake_is_caught(function: Callable[..., Any], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractError) as raised:
        check_reward(registration(function, **settings))
    assert message in str(raised.value)


def test_a_reward_takes_further_columns() -> None:
    with pytest.raises(
        ContractError, match=r"it cannot be called with the keyword 'trainer_state'; expected \*\*columns"
    ):
        check_reward(registration(positional))
