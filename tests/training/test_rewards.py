from __future__ import annotations

import asyncio
import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from harness.api import Batch, Completions, Prompts, RewardRegistration, Rewards
from harness.errors import InputError, PluginError, StageError
from harness.spec.reward import Reward, RewardUse
from harness.training.rewards import CombinedReward, Notes, Part, TrainerState

if TYPE_CHECKING:
    from collections.abc import Iterator

STATE = TrainerState(global_step=7, max_steps=100, epoch=1.75, num_train_epochs=5)


def batch(rows: int = 2) -> Batch:
    zeros = torch.zeros(rows, 1, dtype=torch.int64)
    return Batch(
        ids=tuple(f"row-{b}" for b in range(rows)),
        prompts=Prompts(zeros, zeros[:, 0] + 1, tuple(f"prompt {b}" for b in range(rows))),
        demonstrations=Completions(zeros[:, None], zeros, zeros.bool()),
        columns={"references": tuple((f"answer {b}",) for b in range(rows)), "category": tuple("ab"[:rows])},
    )


def completions(lengths: list[list[int]]) -> Completions:
    sizes = torch.tensor(lengths)
    ids = torch.arange(1, 5).expand(*sizes.shape, 4) + 10 * torch.arange(sizes.shape[1])[:, None]
    return Completions(ids.clone(), sizes, sizes == 3)


FULL = completions([[2, 3, 4], [4, 3, 2]])
TEXTS = [f"text {b}{k}" for b in range(2) for k in range(3)]


def score(*functions: Any, weights: tuple[float, ...] = (), aggregate: str = "before", **rest: Any) -> Rewards:
    parts = [
        Part(f"part{n}", function, weight)
        for n, (function, weight) in enumerate(zip(functions, weights or (1.0,) * len(functions), strict=True))
    ]
    asked: dict[str, Any] = {"batch": batch(), "completions": FULL, "texts": TEXTS, "state": STATE, **rest}
    return CombinedReward(parts, aggregate).score(
        asked.pop("batch"), asked.pop("completions"), asked.pop("texts"), **asked
    )


def gives(*values: Any) -> Any:
    return lambda **_: list(values)


def test_a_reward_is_called_as_trl_calls_it() -> None:
    seen: dict[str, Any] = {}

    def reward(
        *, prompts: list[str], completions: list[str], completion_ids: list[list[int]], **rest: Any
    ) -> list[float]:
        seen.update(prompts=prompts, completions=completions, completion_ids=completion_ids, **rest)
        return [0.0] * len(completions)

    score(reward)
    assert seen["prompts"] == ["prompt 0"] * 3 + ["prompt 1"] * 3
    assert seen["completions"] == TEXTS
    # the EOS of a finished completion is no part of it
    assert seen["completion_ids"] == [[1, 2], [11, 12], [21, 22, 23, 24], [1, 2, 3, 4], [11, 12], [21, 22]]
    assert seen["references"] == [("answer 0",)] * 3 + [("answer 1",)] * 3
    assert seen["category"] == ["a"] * 3 + ["b"] * 3
    state = seen["trainer_state"]
    assert (state.global_step, state.max_steps, state.epoch, state.num_train_epochs) == (7, 100, 1.75, 5)
    assert callable(seen["log_extra"])
    assert callable(seen["log_metric"])


def test_values_keep_their_places_and_none_is_absent() -> None:
    rewards = score(gives(1, 0.5, None, np.float32(0.25), True, torch.tensor(2.0)))
    assert rewards.values.tolist() == [[1.0, 0.5, 0.0], [0.25, 1.0, 2.0]]
    assert rewards.present.tolist() == [[True, True, False], [True, True, True]]
    assert rewards.values.dtype == torch.float64
    assert math.isnan(rewards.parts["part0"][0, 2])


def test_an_absent_completion_is_not_asked_about() -> None:
    asked: list[str] = []

    def reward(*, completions: list[str], **_: Any) -> list[float]:
        asked.extend(completions)
        return [1.0] * len(completions)

    rewards = score(reward, completions=completions([[2, 0, 4], [0, 3, 2]]))
    assert asked == ["text 00", "text 02", "text 11", "text 12"]
    assert rewards.present.tolist() == [[True, False, True], [False, True, True]]
    nothing = score(reward, completions=completions([[0, 0, 0], [0, 0, 0]]))
    assert not nothing.present.any()
    assert len(asked) == 4


def test_weighted_sum_before_the_mean() -> None:
    rewards = score(gives(1, 2, 3, 4, 5, 6), gives(0, 1, 0, None, 1, 0), weights=(2.0, -0.5))
    assert rewards.values.tolist() == [[2.0, 3.5, 6.0], [0.0, 9.5, 12.0]]
    assert rewards.present.tolist() == [[True] * 3, [False, True, True]]
    assert rewards.parts["part0"].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert rewards.parts["part1"][1, 1:].tolist() == [1, 0]


def test_each_part_normalised_before_the_sum() -> None:
    rewards = score(gives(1, 2, 3, 7, 5, 6), gives(5, 5, 5, None, 0, 10), weights=(1.0, 2.0), aggregate="after")
    # group 0: part 0 has sd 1; part 1 has no spread. Group 1 without its first member: 5, 6 and 0, 10.
    half = 1 / math.sqrt(2)
    torch.testing.assert_close(
        rewards.values, torch.tensor([[-1, 0, 1], [0, -half - 2 * half, half + 2 * half]], dtype=torch.float64)
    )
    assert rewards.present.tolist() == [[True] * 3, [False, True, True]]


def test_a_group_with_an_absent_member_equals_the_group_without_it() -> None:
    for aggregate in ("before", "after"):
        with_hole = score(gives(1, None, 3, 4, 9, 6), gives(2, 5, 2.5, 3, None, 1), aggregate=aggregate)
        without = score(
            gives(1, 3, 4, 6),
            gives(2, 2.5, 3, 1),
            aggregate=aggregate,
            completions=completions([[2, 4], [4, 2]]),
            texts=["a", "b", "c", "d"],
        )
        chosen = torch.tensor([[0, 2], [0, 2]])
        torch.testing.assert_close(with_hole.centred().gather(1, chosen), without.centred(), rtol=0, atol=1e-15)
        assert with_hole.centred()[0, 1] == 0
        assert with_hole.centred()[1, 1] == 0


def test_asynchronous_parts_run_together() -> None:
    started: list[str] = []
    both = asyncio.Event()

    async def slow(name: str) -> list[float]:
        started.append(name)
        if len(started) == 2:
            both.set()
        await asyncio.wait_for(both.wait(), 10)  # one after the other, the first would wait for ever
        return [1.0] * 6

    rewards = score(lambda **_: slow("one"), lambda **_: slow("other"), gives(1, 2, 3, 4, 5, 6))
    assert started == ["one", "other"]
    assert rewards.values.tolist() == [[3, 4, 5], [6, 7, 8]]


def test_notes_are_means_of_numbers() -> None:
    def reward(*, completions: list[str], log_metric: Any, log_extra: Any, **_: Any) -> list[float]:
        log_metric("accuracy", 0.5)
        log_metric("accuracy", 1.0)
        log_extra("words", [1, 2, 3, 4, 5, 6])
        log_extra("texts", completions)
        log_metric("broken", math.nan)
        return [0.0] * 6

    notes = Notes()
    score(reward, notes=notes)
    assert notes.sums == {"accuracy": (1.5, 2), "words": (21.0, 6)}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_reward_that_is_not_finite_names_the_part_and_the_example(value: float) -> None:
    with pytest.raises(
        StageError, match=r"reward 'part1': the reward of example 'row-1' is not finite, got '-?(nan|inf)'"
    ):
        score(gives(*range(6)), gives(1, 2, 3, 4, value, 6))


@pytest.mark.parametrize("value", [1e300, -1e39, 10**400])
def test_a_reward_beyond_single_precision_names_the_part_and_the_example(value: float) -> None:
    what = "not finite" if value > 1e308 else "too large"
    with pytest.raises(StageError, match=f"reward 'part1': the reward of example 'row-1' is {what}, got "):
        score(gives(*range(6)), gives(1, 2, 3, 4, value, 6))


def test_weights_that_carry_a_sum_beyond_single_precision_are_told() -> None:
    with pytest.raises(StageError, match="reward: the weighted sum of the rewards of example 'row-1' is too large"):
        score(gives(1, 2, 3, 4e30, 5, 6), weights=(1e10,))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([1.0] * 5, "another number of values than there are completions, got 5; expected 6"),
        (3.0, "did not give a list, got 'float'"),
        (["1.0"] * 6, "reward of example 'row-0' is not a number, got '1.0'"),
        ([1.0, 2.0, 3.0, {}, 5.0, 6.0], "reward of example 'row-1' is not a number, got 'dict'"),
    ],
)
def test_a_reward_that_breaks_its_contract(answer: Any, message: str) -> None:
    with pytest.raises(PluginError, match=f"reward 'part0': .*{message}"):
        score(lambda **_: answer)


def test_a_reward_that_raises() -> None:
    def broken(**_: Any) -> list[float]:
        raise KeyError("answer")

    def broken_in_the_middle(**_: Any) -> Iterator[float]:
        yield 1.0
        raise KeyError("answer")

    async def broken_later(**_: Any) -> list[float]:
        raise KeyError("answer")

    def picky(**_: Any) -> list[float]:
        raise InputError("no column 'answer'")

    for function in (broken, broken_in_the_middle, broken_later):
        with pytest.raises(PluginError, match="reward 'part0': the reward raised KeyError: 'answer'"):
            score(function)
    with pytest.raises(InputError, match=r"^no column 'answer'$"):
        score(picky)


class FakeRegistry:
    def build(self, kind: str, name: str, options: dict[str, Any]) -> Any:
        assert kind == "reward"
        return gives(*([len(name) + options.get("add", 0)] * 6))

    def resolved(self, kind: str, name: str, options: dict[str, Any]) -> RewardRegistration:
        return RewardRegistration(name=name, summary="fixed", build="nowhere:fixed")

    def find(self, kind: str, name: str) -> Any:
        return SimpleNamespace(named=f"{kind} {name!r}")


def test_building_through_the_registry() -> None:
    reward = Reward(parts=(RewardUse(use="a", label="first"), RewardUse(use="bb", options={"add": 1}, weight=2.0)))
    made = CombinedReward.build(reward, FakeRegistry())  # type: ignore[arg-type]  # only build() is used
    assert [part.label for part in made.parts] == ["first", "bb"]
    assert made.score(batch(), FULL, TEXTS, state=STATE).values.tolist() == [[7.0] * 3] * 2
    twice = Reward(parts=(RewardUse(use="a"), RewardUse(use="a")))
    again = CombinedReward.build(twice, FakeRegistry())  # type: ignore[arg-type]  # as above
    assert [part.label for part in again.parts] == ["a[0]", "a[1]"]
