"""What is computed once for several training stages, or for a table."""

from __future__ import annotations

from typing import ClassVar, Literal

from harness.spec.model import Template
from harness.spec.recipe import RowLimits
from harness.spec.stages.base import Loading, RewardModelUse, StageConfig, StageFamily


class ReferenceConfig(StageConfig):
    """Log-probs of the training rows' pairs under the model at which a method starts."""

    family: ClassVar[StageFamily] = "precompute"
    kind: Literal["reference-logprobs"] = "reference-logprobs"
    recipe: RowLimits
    template: Template
    loading: Loading


class RewardStatisticsConfig(StageConfig):
    """What normalises a reward model's scores, and its scores of held-out pairs."""

    family: ClassVar[StageFamily] = "precompute"
    kind: Literal["reward-statistics"] = "reward-statistics"
    normalise: Literal["none", "shift", "zscore"]
    template: Template
    reward_model: RewardModelUse
