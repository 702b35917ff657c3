"""Which plugins made the stages behind a run's tables: as the stages' records say, and not what is installed now."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from harness.spec.results.run import Maker

if TYPE_CHECKING:
    from harness.execution.outcome import Outcome
    from harness.plan import Stage
    from harness.store.stages import Store


def makers(outcome: Outcome, store: Store) -> tuple[Maker, ...]:
    """Return kind, name, distribution, version and rows of every plugin, by kind and name.

    ``rows`` are the labels of the rows that a method or a reward trained; a data set or a metric has part in all.
    """
    plan = outcome.plan
    rows: dict[str, dict[str, None]] = {}
    for row in plan.rows:
        for stage in row.chain:
            rows.setdefault(stage.key, {})[row.label] = None
    trained: dict[str, dict[str, None]] = {}
    for stage in plan.stages.values():
        for plugin in _made_by(stage, outcome, store):
            trained.setdefault(json.dumps(plugin, sort_keys=True), {}).update(rows.get(stage.key, {}))
    listed = [Maker(**json.loads(plugin), rows=tuple(labels)) for plugin, labels in trained.items()]
    return tuple(sorted(listed, key=lambda plugin: (plugin.kind, plugin.name, plugin.distribution, plugin.version)))


def _made_by(stage: Stage, outcome: Outcome, store: Store) -> list[dict[str, Any]]:
    if stage.kind not in {"prepare", "train", "score"} or stage.id is None or not outcome.done(stage):
        return []
    record = store.find(stage.kind, stage.id)
    return list(record.manifest.get("plugins", ())) if record is not None else []
