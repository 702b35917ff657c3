"""What stages are asked that make a new model: a tokenizer, then random weights."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from harness.spec.model import Template
from harness.spec.stages.base import Loading, StageConfig, StageFamily


class TokenizerConfig(StageConfig):
    """A byte-level BPE, trained on the training rows."""

    family: ClassVar[StageFamily] = "prepare"
    kind: Literal["tokenizer"] = "tokenizer"
    vocab_size: int
    template: Template


class NewModelConfig(StageConfig):
    """Random weights."""

    family: ClassVar[StageFamily] = "prepare"
    kind: Literal["new-model"] = "new-model"
    architecture: dict[str, Any]
    """Arguments of a transformers configuration, ``model_type`` among them."""
    seed: int
    loading: Loading
