"""What a stage is asked that takes answers from a file."""

from __future__ import annotations

from typing import ClassVar, Literal

from harness.spec.model import Template
from harness.spec.stages.base import StageConfig, StageFamily


class AnswersConfig(StageConfig):
    """The answers of a file to one data set under one decoding with one seed."""

    family: ClassVar[StageFamily] = "generate"
    kind: Literal["answers"] = "answers"
    answers: str
    """The digest of the lines that are about these."""
    template: Template
    """By which a line may name its prompt."""
    partial: bool
    """Whether the data set is limited to its first rows, so that the file may answer others too."""
