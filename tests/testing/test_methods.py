"""The method check lets good methods pass and catches every mistake it is there for, each made once."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
import torch

from harness.api import MethodRegistration, Options
from harness.testing import ContractError, check_method

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from harness.api import Batch, Completions, Run, State


class Opts(Options):
    rate: float = 0.5


class Reinforce:
    """Raise what is rewarded above the group's mean, beside the demonstrations; keeps a count that matters."""

    def __init__(self, options: Opts) -> None:
        self.rate = options.rate
        self.steps = 0

    def setup(self, run: Run) -> None: ...

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        self.steps += 1
        samples = run.sample(batch, [1.0, 2.0])
        fitness = run.reward(batch, samples).centred()
        denominator = self.denominator(run, batch)

        def loss(batch: Batch, samples: Completions, fitness: Tensor) -> Mapping[str, Tensor]:
            logp = run.logprobs(batch, batch.demonstrations.join(samples)).sum()
            return {
                "sft": self.supervised(batch, logp[:, 0]) / denominator,
                "reward": -self.rate / self.steps * (fitness * logp[:, 1:]).sum() / denominator,
            }

        return run.update(loss, batch=batch, samples=samples, fitness=fitness)

    def denominator(self, run: Run, batch: Batch) -> Tensor | float:
        return run.total(len(batch))

    def supervised(self, batch: Batch, logp: Tensor) -> Tensor:
        return -logp.sum()

    def state_dict(self) -> Mapping[str, State]:
        return {"steps": self.steps}

    def load_state_dict(self, state: Mapping[str, State]) -> None:
        assert isinstance(state["steps"], int)
        self.steps = state["steps"]


class Shuffling(Reinforce):
    """Several updates over a permutation of places."""

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        total = run.total(len(batch))
        for part in run.shuffle({"batch": batch}, 2, "halves"):

            def loss(batch: Batch) -> Mapping[str, Tensor]:
                return {"sft": -run.logprobs(batch, batch.demonstrations).sum().sum() / total}

            run.update(loss, **part)
        return {}


class MeanOfParts(Reinforce):
    def supervised(self, batch: Batch, logp: Tensor) -> Tensor:
        return -logp.mean() * 4


class FirstCounts(Reinforce):
    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        def loss(batch: Batch, weight: Tensor) -> Mapping[str, Tensor]:
            return {"sft": -(run.logprobs(batch, batch.demonstrations).sum()[:, 0] * weight).sum()}

        return run.update(loss, batch=batch, weight=torch.arange(len(batch), dtype=torch.float64))


class Decaying(Reinforce):
    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        with torch.no_grad():
            next(run.policy.model.parameters()).mul_(0.999)
        return super().step(run, batch)


class Idle(Reinforce):
    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        return {}


class Remembering(Reinforce):
    runs = 0

    def setup(self, run: Run) -> None:
        type(self).runs += 1
        self.rate += type(self).runs


class Mutating(Reinforce):
    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        said = super().step(run, batch)
        batch.demonstrations.ids[batch.demonstrations.ids == 0] = -100
        return said


class Rolling(Reinforce):
    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        self.rate = 0.5 + 0 * random.random()
        return super().step(run, batch)


class TorchRolling(Reinforce):
    def setup(self, run: Run) -> None:
        torch.randn(1)


class Silent(Reinforce):
    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        super().step(run, batch)
        nothing: Any = None
        return nothing  # type: ignore[no-any-return]  # the mistake


class Infinite(Reinforce):
    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        return {**super().step(run, batch), "ratio": float("nan")}


class DividesBySpread(Reinforce):
    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        samples = run.sample(batch, [1.0, 2.0])
        fitness = run.reward(batch, samples).centred()
        scaled = fitness / fitness.abs().amax(1, keepdim=True)
        total = run.total(len(batch))

        def loss(batch: Batch, samples: Completions, scaled: Tensor) -> Mapping[str, Tensor]:
            return {"reward": -(scaled * run.logprobs(batch, samples).sum()).sum() / total}

        return run.update(loss, batch=batch, samples=samples, scaled=scaled)


def registration(build: Callable[[Any], Any]) -> MethodRegistration:
    return MethodRegistration(name="under-test", summary="s", options=Opts, build=build, needs=frozenset({"reward"}))


def test_a_good_method_passes() -> None:
    check_method(registration(Reinforce))


def test_options_are_those_of_a_file() -> None:
    seen: list[float] = []

    class Seeing(Idle):
        def __init__(self, options: Opts) -> None:
            super().__init__(options)
            seen.append(options.rate)

    with pytest.raises(ContractError):
        check_method(registration(Seeing), {"rate": 3})
    assert seen == [3.0]


def test_a_method_that_shuffles_is_excused_by_itself() -> None:
    check_method(registration(Shuffling))


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (FirstCounts, "the order of the rows changes the weights"),
        (Decaying, "a learning rate of 0 moves weights"),
        (Idle, "2 steps moved no weight"),
        (Remembering, "run again it gives other weights"),
        (Mutating, "step() changed its batch"),
        (Rolling, "step() used the global random numbers of random"),
        (TorchRolling, "setup() used the global random numbers of torch"),
        (Silent, "step() must return numbers by name, and returned NoneType"),
        (Infinite, "step() returned 'ratio': nan"),
        (DividesBySpread, "absent or equal rewards are too much for it: the loss is not finite at step 0"),
    ],
)
def test_a_mistake_is_caught(method: Callable[[Any], Any], message: str) -> None:
    """The others are among those that authors make, in ``test_mistakes.py``."""
    with pytest.raises(ContractError) as raised:
        check_method(registration(method))
    assert message in str(raised.value)
    assert str(raised.value).startswith("method 'under-test': ")


@pytest.mark.parametrize(("method", "name"), [(FirstCounts, "order"), (MeanOfParts, "micro")])
def test_a_method_may_be_excused(method: Callable[[Any], Any], name: str) -> None:
    excused = {name: "it is what the paper says"}
    if method is FirstCounts:
        excused["ranks"] = "as above"
    if method is MeanOfParts:
        excused["ranks"] = "its mean is that of what a rank holds"
    check_method(registration(method), excused=excused)


def test_only_known_checks_are_excused() -> None:
    with pytest.raises(ValueError, match=r"cannot be excused from \['padding'\]"):
        check_method(registration(Reinforce), excused={"padding": "no"})
