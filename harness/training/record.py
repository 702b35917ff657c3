"""Where a run stands, what it was told to be, and what happened in the step that is being taken."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from harness.api import Limits, Rewards
from harness.training.logged import LoggedMeans
from harness.training.meters import Signal
from harness.training.rewards import Notes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.spec.recipe import AdapterSettings
    from harness.training.assignment import TrainingPlan
    from harness.training.extent import Extent
    from harness.training.updates import Update


@dataclass
class RunProgress:
    """Where in the whole schedule the run stands. Implements :class:`harness.api.Progress`."""

    total_steps: int
    steps_per_epoch: int
    step: int = 0
    epoch: int = 0
    fraction: float = 0.0

    def move(self, step: int, extent: Extent | None = None) -> None:
        """Stand before ``step``; ``extent`` says how much lies behind it."""
        self.step = step
        self.epoch = step // self.steps_per_epoch
        if extent is not None:
            self.total_steps = extent.total(step)
        self.fraction = step / max(1, self.total_steps) if extent is None else extent.fraction(step)


@dataclass
class StepRecord:
    """What happened in one step, on this rank."""

    signal: Signal = field(default_factory=Signal)
    notes: Notes = field(default_factory=Notes)
    logged: LoggedMeans = field(default_factory=LoggedMeans)
    """What the method logged outside of losses."""
    updates: list[Update] = field(default_factory=list)
    groups: list[tuple[tuple[str, ...], Rewards]] = field(default_factory=list)
    generated: int = 0
    rewarded: int = 0
    draws: int = 0

    def close(self) -> Signal:
        """Return the signal, with rewards of the same prompts seen as one group a prompt."""
        if self.groups:
            same = all(ids == self.groups[0][0] for ids, _ in self.groups)
            for rewards in [_side_by_side([r for _, r in self.groups])] if same else [r for _, r in self.groups]:
                self.signal.rewarded(rewards)
            self.groups = []
        return self.signal


def _side_by_side(calls: Sequence[Rewards]) -> Rewards:
    if len(calls) == 1:
        return calls[0]
    names = [name for name in calls[0].parts if all(name in rewards.parts for rewards in calls)]
    return Rewards(
        torch.cat([rewards.values for rewards in calls], 1),
        torch.cat([rewards.present for rewards in calls], 1),
        {name: torch.cat([rewards.parts[name] for rewards in calls], 1) for name in names},
    )


@dataclass(frozen=True)
class Settings:
    """What the services need to know of the recipe."""

    seed: int
    limits: Limits
    epochs: int
    method: str
    dropout: float
    """The largest of the policy's, an adapter's included."""
    gradient_checkpointing: bool
    suppress_stops: bool = False
    adapter: AdapterSettings | None = None

    @classmethod
    def of(cls, plan: TrainingPlan, positions: int | None) -> Settings:
        """Return those of a segment, with a policy that reads so many positions."""
        adapter = plan.recipe.adapter
        return cls(
            seed=plan.seed,
            limits=plan.limits(positions),
            epochs=plan.epochs,
            method=plan.method,
            dropout=max(plan.recipe.dropout, adapter.dropout if adapter else 0.0),
            gradient_checkpointing=plan.gradient_checkpointing,
            suppress_stops=plan.sampling.suppress_stops,
            adapter=adapter,
        )
