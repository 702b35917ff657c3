from __future__ import annotations

import math
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from training.runs import logged_step

from harness.api import Completions, Rewards
from harness.spec.results.train import PHASES, Quartiles, StepGroups, StepRewards, StepSamples
from harness.training.meters import Clock, PeakMemory, Signal, quartiles, step_seconds

CPU = torch.device("cpu")


def rewards(values: list[list[float | None]]) -> Rewards:
    present = torch.tensor([[value is not None for value in row] for row in values])
    numbers = torch.tensor([[value or 0.0 for value in row] for row in values], dtype=torch.float64)
    return Rewards(numbers, present, {"x": torch.where(present, numbers, math.nan)})


def test_every_moment_belongs_to_one_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    clock = Clock(CPU)
    now[0] = 1.0
    with clock.phase("forward_backward"):
        now[0] = 3.0
        with clock.phase("sampling"):
            now[0] = 7.0
        now[0] = 15.0
        with clock.phase("reward"):
            now[0] = 31.0
    now[0] = 63.0
    lap = clock.lap()
    assert lap == {"sampling": 4.0, "reward": 16.0, "forward_backward": 10.0, "optimiser": 0.0, "other": 33.0}
    assert clock.lap() == dict.fromkeys(PHASES, 0.0)


def test_a_phase_ends_with_an_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    clock = Clock(CPU)

    def fail() -> None:
        now[0] = 2.0
        raise KeyError

    with pytest.raises(KeyError), clock.phase("reward"):
        fail()
    now[0] = 5.0
    assert clock.lap() == {**dict.fromkeys(PHASES, 0.0), "reward": 2.0, "other": 3.0}


def test_signal_of_rewards() -> None:
    signal = Signal()
    signal.rewarded(rewards([[1.0, 0.0, 0.5], [0.2, 0.2, 0.2], [None, 0.4, None], [None, None, None]]))
    assert signal.groups() == StepGroups(count=4, without_spread=3)
    reward = signal.rewards(calls=12, notes={"seen": 2.0})
    assert reward is not None
    assert (reward.missing, reward.calls, reward.notes) == (5, 12, {"seen": 2.0})
    assert reward.mean == pytest.approx((1.5 + 0.6 + 0.4) / 7)
    assert reward.sd == pytest.approx(math.sqrt(0.5 / 7))  # about the mean of each group
    assert reward.by_candidate == pytest.approx([0.6, 0.2, 0.35])
    assert reward.sd_by_candidate == pytest.approx([0.4, math.sqrt(0.08 / 3), 0.15])
    assert (reward.parts or {})["x"] == pytest.approx(2.5 / 7)


def test_a_candidate_without_any_reward_leaves_out_the_lists() -> None:
    signal = Signal()
    signal.rewarded(rewards([[1.0, None], [0.5, None]]))
    reward = signal.rewards()
    assert reward is not None
    assert reward.mean == 0.75
    assert (reward.by_candidate, reward.sd_by_candidate) == (None, None)
    nothing = Signal()
    nothing.rewarded(rewards([[None], [None]]))
    assert nothing.rewards() == StepRewards(missing=2)


def test_signal_of_samples() -> None:
    lengths = torch.tensor([[1, 3], [4, 4]])
    finished = torch.tensor([[True, True], [False, True]])
    signal = Signal()
    signal.drew(
        Completions(torch.zeros(2, 2, 4, dtype=torch.int64), lengths, finished), 4, torch.tensor([[1.0, 2], [3, 4]])
    )
    mean = (0 + 2 + 4 + 3) / 4
    assert signal.samples() == StepSamples(count=4, empty=1, truncated=1, mean_length=mean, entropy=2.5)
    assert (signal.rewards(), signal.groups(), Signal().samples()) == (None, None, None)


group = st.lists(st.one_of(st.none(), st.floats(-5, 5)), min_size=3, max_size=3)


@settings(max_examples=50)
@given(st.lists(group, min_size=2, max_size=6), st.integers(1, 5))
def test_parts_of_a_batch_add_up(values: list[list[float | None]], cut: int) -> None:
    whole, first, second = Signal(), Signal(), Signal()
    whole.rewarded(rewards(values))
    for signal, part in ((first, values[:cut]), (second, values[cut:])):
        if part:
            signal.rewarded(rewards(part))
    first.merge(second)
    assert first.groups() == whole.groups()
    mine, expected = (signal.rewards() for signal in (first, whole))
    assert mine is not None
    assert expected is not None
    for name, value in expected:
        assert getattr(mine, name) == (value if value is None else pytest.approx(value, abs=1e-9))


def test_quartiles_and_step_seconds() -> None:
    assert quartiles([4.0, 1.0, 3.0, 2.0, 5.0]) == Quartiles(median=3.0, q1=2.0, q3=4.0)
    assert quartiles([2.0]) == Quartiles(median=2.0, q1=2.0, q3=2.0)
    assert quartiles([]) == Quartiles(median=0.0, q1=0.0, q3=0.0)
    found = step_seconds([logged_step(n, float(n)) for n in range(1, 4)])
    assert found.of("sampling").median == 2.0
    assert found.total == Quartiles(median=10.0, q1=7.5, q3=12.5)


def _peak_of_64_megabytes() -> int:
    memory = PeakMemory(CPU)
    before = memory.read()
    block = b"x" * (1 << 26)
    del block
    return memory.read() - before


def test_peak_memory_sees_what_came_and_went() -> None:
    # a fork begins with no peak behind it; where the system forgets none, that of earlier tests would hide this one
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        assert pool.submit(_peak_of_64_megabytes).result() >= 1 << 25


def test_one_candidate_a_prompt_is_no_group() -> None:
    signal = Signal()
    signal.rewarded(rewards([[0.5], [None], [0.25]]))
    assert signal.groups() is None
    assert signal.rewards() == StepRewards(
        missing=1, mean=0.375, parts={"x": 0.375}, by_candidate=(0.375,), sd_by_candidate=(0.125,)
    )


def test_prompts_judged_in_two_calls_are_no_second_candidate() -> None:
    signal = Signal()
    signal.rewarded(rewards([[0.5]]))
    signal.rewarded(rewards([[0.25]]))
    reward = signal.rewards()
    assert reward is not None
    assert reward.by_candidate == (0.375,)
