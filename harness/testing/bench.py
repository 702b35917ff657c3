"""Short training runs of a method on the tiny policy, through the training code that a benchmark uses."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.execution.tiny import probe_reward, tiny_plan, tiny_rows, tried_policy
from harness.training.assignment import Judges, RunContext
from harness.training.distributed import Ranks
from harness.training.loop import Segment
from harness.training.rewards import CombinedReward, Part, TrainerState
from harness.training.seeds import own_generators
from harness.training.stop import Stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import torch
    from torch import Tensor

    from harness.api import Method, RewardFunction
    from harness.lm.model.policy import Policy

#: Steps of a run: enough for what the first one left behind to matter.
STEPS = 2


def signed_reward(completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float | None]:
    """As the probe, in [-0.5, 0.5]: 0 is neither the best nor the worst."""
    return [None if value is None else value - 0.5 for value in probe_reward(completion_ids)]


def awkward_reward(
    completion_ids: Sequence[Sequence[int]], trainer_state: TrainerState, **_: Any
) -> list[float | None]:
    """No reward at all at the first step, equal rewards at the second, then none for answers of even length."""
    if trainer_state.global_step < 2:
        return [None if trainer_state.global_step == 0 else 0.5 for _ in completion_ids]
    values = probe_reward(completion_ids)
    return [value if len(ids) % 2 else None for value, ids in zip(values, completion_ids, strict=True)]


@dataclass(frozen=True)
class TinyRun:
    """What a run left behind."""

    weights: dict[str, Tensor]
    log: list[dict[str, Any]]
    """One row a step, as ``train.jsonl`` has it."""


class Twins(Ranks):
    """Two ranks that hold the same rows, seen from one of them.

    What a method makes of rows on such a pair must be what it makes of a batch that holds every row twice.
    """

    world = 2

    def part(self, size: int) -> slice:
        """Return all rows: the twin has them too."""
        return slice(0, size)

    def sum(self, tensor: Tensor) -> Tensor:
        """Return twice the value: the twin has the same."""
        return tensor.detach().clone() * 2

    def gather(self, value: Any) -> list[Any]:
        """Return both ranks' value."""
        return [value, value]

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Add the twin's gradients, which are the same."""
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad *= 2


def train_tiny(
    method: Method,
    *,
    learning_rate: float = 0.01,
    tokens: int = 1_000_000,
    reward: RewardFunction = probe_reward,
    ranks: Ranks | None = None,
    steps: int = STEPS,
    dropout: float = 0.0,
    interrupted: Callable[[], Method] | None = None,
    labelled: bool = False,
) -> TinyRun:
    """Train a method for a few steps of four rows each, in float64.

    Args:
        method: the method, freshly built.
        learning_rate: constant; 0 must leave the weights as they are.
        tokens: most tokens in a micro-batch; 1 gives each row its own.
        reward: the benchmark's reward.
        ranks: who takes part; one process by default.
        steps: how many.
        dropout: of the policy's layers.
        interrupted: if given, the run is stopped after its first step and goes on from what was kept, in a new policy
            and with the method that this builds.
        labelled: whether the rows are unpaired preferences, with labels, and not paired ones.
    """
    policy = tried_policy(dropout=dropout)
    rows = tiny_rows(policy, labelled=labelled)
    plan = tiny_plan(steps=steps, learning_rate=learning_rate, tokens=tokens, dropout=dropout)
    log: list[dict[str, Any]] = []
    stops = iter([15] if interrupted else [])
    with tempfile.TemporaryDirectory() as folder:
        context = RunContext(
            log=lambda row: log.append(row.to_json()),
            ranks=ranks or Ranks(),
            unfinished=Path(folder) / "unfinished" if interrupted else None,
            stop=lambda: next(stops, 0),
        )

        def go(policy: Policy, current: Method) -> TinyRun:
            log.clear()
            combined = CombinedReward([Part("probe", reward)])
            judges = Judges(reward=combined, load_reference=tried_policy)
            segment = Segment(plan, policy, rows, current, context=context, judges=judges)
            with own_generators(policy.device):
                segment.begin()
                segment.run()
            return TinyRun({name: weight.detach() for name, weight in policy.model.named_parameters()}, list(log))

        if interrupted is None:
            return go(policy, method)
        try:
            go(policy, method)
        except Stopped:
            return go(tried_policy(dropout=dropout), interrupted())
    raise AssertionError("the run was not interrupted")  # it would prove nothing
