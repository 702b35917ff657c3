"""What a stage is asked that computes reference log-probs."""

from __future__ import annotations

from typing import ClassVar, Literal

from harness.spec.model import Template
from harness.spec.recipe import RowLimits
from harness.spec.stages.base import Loading, StageConfig, StageFamily


class ReferenceConfig(StageConfig):
    """Log-probs of the training rows' pairs under the model at which a method starts."""

    family: ClassVar[StageFamily] = "precompute"
    kind: Literal["reference-logprobs"] = "reference-logprobs"
    recipe: RowLimits
    template: Template
    loading: Loading
