"""Finished scores that hold replies without a value, which asking a judge again may mend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.spec.results.score import ScoreSummary
from harness.spec.stages.score import Scoring

if TYPE_CHECKING:
    from harness.plan import Plan
    from harness.plugins.registry import Registry
    from harness.store.stages import Store


def unparsed(plan: Plan, registry: Registry, store: Store) -> set[str]:
    """Return the keys of the finished stages with a count, of those that a metric calls ``retryable``, above 0."""
    stages = set()
    for stage in plan.stages.values():
        if not isinstance(stage.config, Scoring) or not stage.done or stage.id is None:
            continue
        registration: Any = registry.get("metric", stage.config.metric.name)
        if not registration.retryable:
            continue
        record = store.find(stage.kind, stage.id)
        corpus = record.read(ScoreSummary).corpus if record is not None else {}
        if any(corpus.get(name, 0) > 0 for name in registration.retryable):
            stages.add(stage.key)
    return stages
