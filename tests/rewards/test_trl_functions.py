"""A reward written for TRL is registered by a third party as it is and called as TRL would call it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from harness.api import Batch, Completions, Prompts
from harness.errors import PluginError
from harness.plugins.loader import load_registry
from harness.plugins.registry import Registry
from harness.testing.distributions import installed, write_distribution
from harness.training.rewards import CombinedReward, Notes, Part, TrainerState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Functions as one finds them beside TRL's trainers: no import of the harness, no annotation, a column by name.
FUNCTIONS = '''
import asyncio


def accuracy(completions, solution, **kwargs):
    """1 where the completion is the solution, None where there is no solution."""
    return [None if s is None else float(c == s) for c, s in zip(completions, solution)]


async def slow(prompts, completions, **kwargs):
    await asyncio.sleep(0)
    return [float(len(p) + len(c)) for p, c in zip(prompts, completions)]


def logged(completion_ids, trainer_state, log_extra, log_metric, **kwargs):
    lengths = [len(ids) for ids in completion_ids]
    log_extra("lengths", lengths)
    log_metric("step", trainer_state.global_step)
    return lengths


def scaled(completions, factor, bias=0.0, **kwargs):
    return [factor * len(c) + bias for c in completions]


def get_punishment(longest):
    def punishment(completion_ids, **kwargs):
        return [min(0.0, longest - len(ids)) for ids in completion_ids]

    return punishment
'''

PLUGIN = """
from harness.api import Options, RewardRegistration, hookimpl


class Scale(Options):
    factor: float = 2.0
    bias: float = 0.0


class Longest(Options):
    longest: int


def build_punishment(options):
    from trl_rewards.functions import get_punishment

    return get_punishment(options.longest)


@hookimpl
def harness_register_rewards():
    plain = [
        RewardRegistration(
            name=name, summary="a function", build=f"trl_rewards.functions:{name}", function=True
        )
        for name in ("accuracy", "slow", "logged")
    ]
    return [
        *plain,
        RewardRegistration(
            name="scaled", summary="with options", build="trl_rewards.functions:scaled", function=True, options=Scale
        ),
        RewardRegistration(name="punishment", summary="from a factory", build=build_punishment, options=Longest),
    ]
"""


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    write_distribution(
        tmp_path,
        "trl-rewards",
        entry_points={"reward-trl": "trl_rewards.plugin"},
        modules={
            "trl_rewards/__init__.py": "",
            "trl_rewards/functions.py": FUNCTIONS,
            "trl_rewards/plugin.py": PLUGIN,
        },
    )
    with installed(tmp_path) as entry_points:
        yield load_registry(entry_points=entry_points)


TEXTS = ["yes", "no", "maybe", "yes"]


def batch() -> tuple[Batch, Completions]:
    lengths = torch.tensor([[4, 3], [6, 4]])
    completions = Completions(torch.ones(2, 2, 6, dtype=torch.int64), lengths, torch.ones(2, 2, dtype=torch.bool))
    prompts = Prompts(torch.ones(2, 1, dtype=torch.int64), torch.ones(2, dtype=torch.int64), ("p", "pp"))
    columns = {"references": (("yes",), ("no",)), "solution": ("yes", None)}
    demonstrations = Completions(completions.ids[:, :1], lengths[:, :1], completions.finished[:, :1])
    return Batch(("a", "b"), prompts, demonstrations, columns=columns), completions


def score(registry: Registry, name: str, **options: object) -> tuple[list[list[float]], list[list[bool]], Notes]:
    function = registry.build("reward", name, options)
    notes = Notes()
    state = TrainerState(global_step=5, max_steps=9, epoch=0.5, num_train_epochs=1)
    rewards = CombinedReward([Part(name, function)]).score(*batch(), TEXTS, state=state, notes=notes)
    return rewards.values.tolist(), rewards.present.tolist(), notes


def test_none_is_absent(registry: Registry) -> None:
    values, present, _ = score(registry, "accuracy")
    assert present == [[True, True], [False, False]]
    assert values[0] == [1.0, 0.0]


def test_async(registry: Registry) -> None:
    assert score(registry, "slow")[0] == [[4.0, 3.0], [7.0, 5.0]]


def test_trainer_state_and_logs(registry: Registry) -> None:
    values, _, notes = score(registry, "logged")
    assert values == [[3.0, 2.0], [5.0, 3.0]]  # without the closing EOS
    assert notes.sums == {"lengths": (13.0, 4), "step": (5.0, 1)}


def test_options_become_keywords(registry: Registry) -> None:
    assert score(registry, "scaled")[0] == [[6.0, 4.0], [10.0, 6.0]]
    assert score(registry, "scaled", factor=1.0, bias=0.5)[0] == [[3.5, 2.5], [5.5, 3.5]]


def test_factories_are_built(registry: Registry) -> None:
    assert score(registry, "punishment", longest=3)[0] == [[0.0, 0.0], [-2.0, 0.0]]


def test_the_fingerprint_follows_the_function(registry: Registry, tmp_path: Path) -> None:
    before = registry.fingerprint("reward", "accuracy")
    with (tmp_path / "trl_rewards" / "functions.py").open("a", encoding="utf-8") as file:
        file.write("\n\nMORE = 1\n")
    assert Registry(registry.plugins).fingerprint("reward", "accuracy") != before


def test_a_function_that_is_not_there_is_named(tmp_path: Path) -> None:
    write_distribution(
        tmp_path,
        "broken-rewards",
        entry_points={"reward-broken": "broken_rewards"},
        modules={"broken_rewards.py": PLUGIN.replace("trl_rewards.functions", "broken_rewards")},
    )
    with installed(tmp_path) as entry_points:
        registry = load_registry(entry_points=entry_points)
        with pytest.raises(PluginError, match=r"reward 'accuracy' of broken-rewards 1\.0: cannot be built"):
            registry.build("reward", "accuracy", {})
