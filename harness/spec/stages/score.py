"""What one metric says of the answers of one ``generate`` stage."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from harness.spec.budget import BudgetPoint
from harness.spec.stages.base import Asking, Loading, PluginUse, RewardModelUse, StageConfig, StageFamily

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.api.registration import Kind


class Scoring(StageConfig):
    """What the two kinds of scores have in common."""

    family: ClassVar[StageFamily] = "score"
    metric: PluginUse

    def plugins(self) -> Iterator[tuple[Kind, PluginUse]]:
        """Yield the metric."""
        yield "metric", self.metric


class ScoreConfig(Scoring):
    """A metric that reads texts alone."""

    kind: Literal["score"] = "score"


class ModelScoreConfig(Scoring):
    """A metric that asks the policy, the fixed scorer or the reward model."""

    kind: Literal["score-by-model"] = "score-by-model"
    asking: Asking
    at: BudgetPoint | None = None
    """The point of the policy's budget; its end where None."""
    scorer: Loading | None = None
    """How the fixed scorer is loaded, where the metric asks it: it may be another model than the policy."""
    reward_model: RewardModelUse | None = None
