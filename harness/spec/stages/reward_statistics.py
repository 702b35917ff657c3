"""What a stage is asked that scores demonstrations and held-out pairs with a reward model."""

from __future__ import annotations

from typing import ClassVar, Literal

from harness.spec.stages.base import RewardModelUse, StageConfig, StageFamily


class RewardStatisticsConfig(StageConfig):
    """What normalises a reward model's scores, and its scores of held-out pairs."""

    family: ClassVar[StageFamily] = "precompute"
    kind: Literal["reward-statistics"] = "reward-statistics"
    normalise: Literal["none", "shift", "zscore"]
    reward_model: RewardModelUse
