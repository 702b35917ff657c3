"""What a stage is asked when it is handed out, and what it takes of a machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.execution.executors.interface import Needs
from harness.plan.memory import MemoryEstimate
from harness.stages.request import Parent, StageRequest

if TYPE_CHECKING:
    from harness.execution.settings import RunSettings
    from harness.plan import Plan, Stage
    from harness.plugins.registry import Registry
    from harness.spec.stages.kinds import AnyStageConfig
    from harness.store.stages import Store

#: What a stage asks a cluster for beyond what it is estimated to need.
_MORE = 1.25


def request_of(
    stage: Stage, plan: Plan, store: Store, settings: RunSettings, *, device: str, retry_before: float, replace: bool
) -> StageRequest[AnyStageConfig]:
    """Return the request for a stage whose parents are done; ``device`` is what its place has."""
    assert stage.id is not None
    parents = {}
    for name, parent in stage.parents.items():
        current = plan.stages[parent.key]
        assert current.id is not None
        parents[name] = Parent(current.kind, current.id)
    changes = {
        "device": device,
        "threads": settings.threads,
        "ranks": settings.ranks if stage.kind == "train" else 1,
        "concurrent": settings.jobs > 1,
        "sources": _sources(plan),
        "retry_before": retry_before,
        "replace": replace,
        "checkpoint_minutes": settings.execution.checkpoint_minutes,
        "rank_timeout_minutes": settings.execution.rank_timeout_minutes,
        "executor": settings.execution.executor,
    }
    runtime = stage.runtime.model_copy(update=changes)
    return StageRequest(stage.id, stage.label, stage.config, parents, runtime, store.root, settings.plugins)


def _sources(plan: Plan) -> dict[str, str]:
    """Return where models lie on disk, by the digest of their content."""
    return {stage.content: path for stage in plan.stages.values() if stage.content and (path := stage.runtime.path)}


def needs_of(stage: Stage, plan: Plan, registry: Registry, settings: RunSettings, *, device: str) -> Needs:
    """Return what a stage takes of a machine of a cluster."""
    ranks = settings.ranks if stage.kind == "train" else 1
    gigabytes, gpus = settings.execution.memory_gb, ranks if device != "cpu" else 0
    memory = None if gigabytes is None else round(gigabytes * 1e9)
    if memory is None and not gpus:
        estimate = MemoryEstimate(plan, registry, device).of(stage)
        memory = None if estimate is None else round(_MORE * ranks * estimate.total)
    return Needs(settings.threads * ranks, gpus, memory)
