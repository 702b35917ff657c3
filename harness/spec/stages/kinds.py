"""All kinds of stages, told apart by their field ``kind``."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from harness.spec.stages.generate import GenerateConfig
from harness.spec.stages.precompute import ReferenceConfig, RewardStatisticsConfig
from harness.spec.stages.prepare import ClassifierConfig, ModelConfig, NewModelConfig, RowsConfig, TokenizerConfig
from harness.spec.stages.score import ModelScoreConfig, ScoreConfig
from harness.spec.stages.train import TrainConfig

AnyStageConfig: TypeAlias = Annotated[
    RowsConfig | TokenizerConfig | NewModelConfig | ModelConfig | ClassifierConfig | TrainConfig | ReferenceConfig
    | RewardStatisticsConfig | GenerateConfig | ScoreConfig | ModelScoreConfig,
    Field(discriminator="kind"),
]  # fmt: skip
