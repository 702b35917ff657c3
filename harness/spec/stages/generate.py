"""The answers of one checkpoint to one data set under one decoding."""

from __future__ import annotations

from typing import ClassVar, Literal

from harness.spec.budget import BudgetPoint
from harness.spec.decoding import Decoding
from harness.spec.stages.base import Asking, StageConfig, StageFamily


class GenerateConfig(StageConfig):
    """The answers of one checkpoint to one data set under one decoding."""

    family: ClassVar[StageFamily] = "generate"
    kind: Literal["generate"] = "generate"
    asking: Asking
    at: BudgetPoint | None = None
    """The point of the checkpoint's budget; its end where None."""
    decoding: Decoding
    seed: int

    @property
    def draws(self) -> int:
        """Answers to a prompt; greedy decoding gives one."""
        return self.decoding.draws if self.decoding.temperature > 0 else 1
