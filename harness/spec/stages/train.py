"""One segment of a run's schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from harness.spec.budget import Budget
from harness.spec.model import Template
from harness.spec.recipe import MethodSampling, StepSettings
from harness.spec.reward import Reward, RewardUse
from harness.spec.schedule import Curve, Position
from harness.spec.section import Frozen
from harness.spec.stages.base import Loading, PluginUse, RewardModelUse, StageConfig, StageFamily

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.api.registration import Kind


class RewardPart(Frozen):
    """One part of a reward, with the weight that it has for a row."""

    reward: PluginUse
    weight: float


class CombinedRewardUse(Frozen):
    """The reward of an on-policy method."""

    parts: tuple[RewardPart, ...]
    aggregate: Literal["before", "after"]

    @property
    def section(self) -> Reward:
        """The same as a section of the file."""
        parts = [
            RewardUse(use=part.reward.name, options=part.reward.options, weight=part.weight) for part in self.parts
        ]
        return Reward(parts=tuple(parts), aggregate=self.aggregate)


class TrainConfig(StageConfig):
    """One segment of a run's schedule, from a checkpoint to the next."""

    family: ClassVar[StageFamily] = "train"
    kind: Literal["train"] = "train"
    method: PluginUse
    trains: Literal["policy", "reward_model"] = "policy"
    recipe: StepSettings
    sampling: MethodSampling | None
    """None for a supervised method, which samples nothing."""
    first: Position
    last: Position
    """The segment ends before it; under a budget the same as ``first``."""
    budget: Budget | None = None
    """Ends the segment, and moves the learning rate along its curve, by what is spent; None where ``last`` does."""
    curve: Curve
    fresh_optimizer: bool
    """Whether moments start from zero."""
    seed: int
    template: Template
    loading: Loading
    reward: CombinedRewardUse | None = None
    reward_model: RewardModelUse | None = None

    def plugins(self) -> Iterator[tuple[Kind, PluginUse]]:
        """Yield the method and the parts of its reward."""
        yield "method", self.method
        for part in self.reward.parts if self.reward is not None else ():
            yield "reward", part.reward

    @property
    def ended_by_clock(self) -> bool:
        """Whether no two runs of it end at the same step."""
        return self.budget is not None and self.budget.unit == "seconds"

    @property
    def longest_answer(self) -> int:
        """Most tokens of a demonstration or of a sampled completion."""
        sampled = self.sampling.generate_length if self.sampling is not None else None
        return max(self.recipe.max_completion_length, sampled or 0)
