"""All kinds of stages, told apart by their field ``kind``."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import Field, TypeAdapter

from harness.spec.stages.answers import AnswersConfig
from harness.spec.stages.existing_model import ClassifierConfig, ModelConfig
from harness.spec.stages.generate import GenerateConfig
from harness.spec.stages.new_model import NewModelConfig, TokenizerConfig
from harness.spec.stages.reference import ReferenceConfig
from harness.spec.stages.reward_statistics import RewardStatisticsConfig
from harness.spec.stages.rows import RowsConfig
from harness.spec.stages.score import ModelScoreConfig, ScoreConfig
from harness.spec.stages.train import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

AnyStageConfig: TypeAlias = Annotated[
    RowsConfig | TokenizerConfig | NewModelConfig | ModelConfig | ClassifierConfig | TrainConfig | ReferenceConfig
    | RewardStatisticsConfig | GenerateConfig | AnswersConfig | ScoreConfig | ModelScoreConfig,
    Field(discriminator="kind"),
]  # fmt: skip


def parse_config(value: Mapping[str, Any]) -> AnyStageConfig:
    """Return a stage's configuration, whatever its kind, from plain JSON values; pydantic's ValidationError else."""
    return _adapter().validate_python(value)


@functools.cache
def _adapter() -> TypeAdapter[AnyStageConfig]:
    return TypeAdapter(AnyStageConfig)
