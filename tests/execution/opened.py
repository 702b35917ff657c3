"""An executor by itself, and the stages of a benchmark to give it; those that prepare rows need no torch."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Any

from execution.bench import PATIENCE

from harness.benchmark import load_benchmark
from harness.execution.asking import request_of
from harness.execution.executors.choose import open_executor
from harness.execution.executors.interface import GOES_ON, Needs, Opening
from harness.execution.settings import RunSettings
from harness.plan import build_plan
from harness.plugins.loader import load_registry
from harness.spec.execution import Execution

if TYPE_CHECKING:
    from collections.abc import Callable

    from execution.bench import Bench

    from harness.execution.executors.interface import Event, Executor
    from harness.plan import Plan, Stage
    from harness.store.stages import Store


@dataclasses.dataclass
class Opened:
    """An executor, and the plan whose stages it is given."""

    executor: Executor
    plan: Plan
    store: Store
    settings: RunSettings

    @property
    def rows(self) -> Stage:
        """The stage that prepares what is trained on."""
        return self.plan.train

    def begin(self, stage: Stage, **changes: Any) -> Any:
        request = request_of(stage, self.plan, self.store, self.settings, device="cpu", retry_before=0.0, replace=False)
        if changes:
            config = request.config.model_copy(update=changes)
            request = dataclasses.replace(request, config=config)
        return self.executor.begin(stage, request, Needs())

    def until(self, wanted: Callable[[Event], bool]) -> list[Event]:
        """Wait for an event; return all that were heard."""
        heard: list[Event] = []
        deadline = time.monotonic() + PATIENCE
        while not any(map(wanted, heard)):
            assert time.monotonic() < deadline, heard
            heard += self.executor.wait(0.2)
        return heard

    def end(self) -> Event:
        """Wait for the end of one stage."""
        return next(event for event in self.until(_ends) if _ends(event))


def _ends(event: Event) -> bool:
    return event.kind not in GOES_ON


def open_on(bench: Bench, jobs: int = 1, **execution: Any) -> Opened:
    """Open an executor for a benchmark."""
    registry = load_registry()
    plan = build_plan(load_benchmark(bench.file, registry=registry), registry, bench.store)
    how = Execution(**execution)
    executor = open_executor(Opening(how, jobs, 1, 1, ("rows",), 600.0, bench.results))
    settings = RunSettings(jobs=jobs, ranks=1, device="cpu", threads=1, execution=how)
    return Opened(executor, plan, bench.store, settings)
