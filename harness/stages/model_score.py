"""``score`` by a metric that asks a model: the policy, the fixed scorer or the reward model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.stages.nll import ModelServices
from harness.stages.scoring import score_answers

if TYPE_CHECKING:
    from harness.plugins.registry import Registry
    from harness.spec.stages.score import ModelScoreConfig
    from harness.stages.request import StageRequest, Tell
    from harness.store.records import Record
    from harness.store.stages import Store


def run(request: StageRequest[ModelScoreConfig], store: Store, registry: Registry, tell: Tell) -> Record:
    """Score the answers; the metric may ask the models that it registered."""
    return score_answers(request, store, registry, tell, ModelServices)
