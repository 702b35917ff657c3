"""What is left to do of a benchmark, in bytes of disk and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.doctor.room import Needs
from harness.execution.keep import required
from harness.plan import build_plan
from harness.plan.estimate import Estimate
from harness.plan.memory import PROCESS, MemoryEstimate
from harness.store.stages import Store

if TYPE_CHECKING:
    from pathlib import Path

    from harness.plugins.registry import Registry
    from harness.spec.benchmark import Benchmark


def needs_of(benchmark: Benchmark, registry: Registry, results: Path, *, device: str, jobs: int) -> Needs:
    """Return what a run would write and hold.

    Raises:
        InputError: what the plan needs, such as a model's folder, is not there.
    """
    store = Store(results)
    plan = build_plan(benchmark, registry, store)
    todo = required(plan, store)
    estimate, memory = Estimate(plan), MemoryEstimate(plan, registry, device)
    held = sorted((found.total for stage in todo if (found := memory.of(stage)) is not None), reverse=True)
    return Needs(
        name=f"{benchmark.benchmark} ({benchmark.profile})",
        disk=sum(estimate.disk(stage) for stage in todo),
        memory=sum(held[:jobs]) or PROCESS,
        known=plan.settled,
    )
