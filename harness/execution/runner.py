"""Carry out a plan: every stage whose parents are done, on as many workers as allowed, until nothing is left to do."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from harness.errors import HarnessError, MachineError
from harness.execution.keep import prune, required
from harness.execution.pool import Pool
from harness.plan import Plan, Stage, build_plan
from harness.stages import Order, Parent
from harness.stages.rows import check_overlap
from harness.store.files import machine_errors

if TYPE_CHECKING:
    from harness.benchmark.schema import Benchmark
    from harness.execution.pool import Event
    from harness.plugins import Registry
    from harness.store import Store

#: Which kinds go first when several stages are ready: what others wait for.
_PRIORITY = {"prepare": 0, "train": 1, "precompute": 1, "generate": 2, "score": 3}


class Watcher(Protocol):
    """Who is told how the work goes."""

    def planned(self, plan: Plan, todo: list[Stage]) -> None:
        """Say what there is to do; called again when the plan becomes clearer."""

    def started(self, worker: int, stage: Stage) -> None:
        """Say that a worker began a stage."""

    def progress(self, worker: int, stage: Stage, done: int, total: int, unit: str, note: str) -> None:
        """Say how far a stage is."""

    def ended(self, worker: int, stage: Stage, seconds: float, failure: str | None) -> None:
        """Say that a stage is done, or why it failed."""


@dataclass
class Failure:
    """A stage that failed, or that cannot be done because another one failed."""

    stage: Stage
    message: str
    exit_code: int
    because_of: str | None = None
    """The label of the stage that failed first."""


@dataclass
class Outcome:
    """What came of a run."""

    plan: Plan
    failures: dict[str, Failure] = field(default_factory=dict)
    """By the stage's key."""
    made: int = 0
    reused: int = 0


@dataclass(frozen=True)
class Settings:
    """How to run; nothing here changes a result."""

    jobs: int
    ranks: int
    device: str
    threads: int
    blocked: tuple[str, ...] = ()


def execute(benchmark: Benchmark, registry: Registry, store: Store, settings: Settings, watcher: Watcher) -> Outcome:
    """Make every missing stage of the benchmark and return what came of it."""
    return _Runner(benchmark, registry, store, settings, watcher).run()


class _Runner:
    def __init__(
        self, benchmark: Benchmark, registry: Registry, store: Store, settings: Settings, watcher: Watcher
    ) -> None:
        self.benchmark = benchmark
        self.registry = registry
        self.store = store
        self.settings = settings
        self.watcher = watcher
        self.plan = build_plan(benchmark, registry, store)
        self.failures: dict[str, Failure] = {}
        self.finished = {stage.key for stage in self.plan.stages.values() if stage.done}
        self.began: dict[str, float] = {}
        self.made = 0
        self.overlap_checked = False

    def run(self) -> Outcome:
        reused = len(self.finished)
        self._mark_needed()
        if self.needed:
            self._check_writable()
            self.store.sweep()
            pool = Pool(self.settings.jobs, threads=self.settings.threads, ranks=self.settings.ranks)
            try:
                self._work(pool)
            finally:
                pool.close()
        if not self.failures:
            prune(self.plan, self.benchmark, self.store)
        return Outcome(self.plan, self.failures, self.made, reused)

    def _work(self, pool: Pool) -> None:
        while True:
            self._hand_out(pool)
            if not pool.busy():
                return
            for event in pool.wait(0.5):
                self._hear(pool, event)

    def _hand_out(self, pool: Pool) -> None:
        running = {worker.stage.key for worker in pool.busy() if worker.stage}
        for stage in self._ready(running):
            worker = pool.idle()
            if worker is None:
                return
            self.began[stage.key] = time.monotonic()
            self.watcher.started(worker.number, stage)
            worker.give(stage, self._order(stage))

    def _ready(self, running: set[str]) -> list[Stage]:
        ready = [
            stage
            for stage in self.needed
            if stage.key not in self.finished
            and stage.key not in self.failures
            and stage.key not in running
            and stage.id is not None
            and all(parent.key in self.finished for parent in stage.parents.values())
        ]
        return sorted(ready, key=lambda stage: _PRIORITY[stage.kind])

    def _order(self, stage: Stage) -> Order:
        assert stage.id is not None
        parents = {}
        for name, parent in stage.parents.items():
            current = self.plan.stages[parent.key]
            assert current.id is not None
            parents[name] = Parent(current.kind, current.id)
        runtime = {
            **stage.runtime,
            "device": self.settings.device,
            "threads": self.settings.threads,
            "ranks": self.settings.ranks if stage.kind == "train" else 1,
            "concurrent": self.settings.jobs > 1,
            "sources": self._sources(),
        }
        return Order(
            stage.kind, stage.id, stage.label, stage.config, parents, runtime, self.store.root, self.settings.blocked
        )

    def _sources(self) -> dict[str, str]:
        """Return where models lie on disk, by the digest of their content."""
        stages = self.plan.stages.values()
        return {stage.content: path for stage in stages if stage.content and (path := stage.runtime.get("path"))}

    def _hear(self, pool: Pool, event: Event) -> None:
        worker, body = event.worker, event.body
        stage = worker.stage
        if stage is None:
            return
        if event.kind == "progress":
            self.watcher.progress(worker.number, stage, body["done"], body["total"], body["unit"], body["note"])
            return
        seconds = time.monotonic() - self.began[stage.key]
        worker.stage = None
        if event.kind == "done":
            self.made += 1
            self.finished.add(stage.key)
            self.watcher.ended(worker.number, stage, seconds, None)
            if stage.kind == "prepare":
                self._look_again()
            return
        self._fail(stage, body["message"], body["exit_code"])
        self.watcher.ended(worker.number, stage, seconds, body["message"])
        if event.kind == "failed" and worker.ranks > 1 and stage.kind == "train":
            pool.replace(worker)

    def _look_again(self) -> None:
        """Plan again: what was just prepared settles the ids of what depends on it."""
        self.plan = build_plan(self.benchmark, self.registry, self.store)
        self.finished |= {stage.key for stage in self.plan.stages.values() if stage.done}
        self._mark_needed()

    def _mark_needed(self) -> None:
        self.needed = required(self.plan, self.store)
        self.finished -= {stage.key for stage in self.needed}
        self._check_overlap()
        self.watcher.planned(self.plan, self.needed)

    def _check_overlap(self) -> None:
        """Refuse overlapping data before anything is trained on it."""
        if self.overlap_checked or not any(stage.kind == "train" for stage in self.needed):
            return
        plan = self.plan
        others = {"validation split": plan.validation} if plan.validation is not None else {}
        others |= plan.evaluations
        if plan.train.done and all(stage.done for stage in others.values()):
            records = {label: self.store.open("prepare", stage.id or "") for label, stage in others.items()}
            check_overlap(self.store.open("prepare", plan.train.id or ""), records)
            self.overlap_checked = True

    def _fail(self, stage: Stage, message: str, exit_code: int) -> None:
        self.failures[stage.key] = Failure(stage, message, exit_code)
        for other in self.plan.stages.values():  # parents stand before their children
            if other.key not in self.finished and other.key not in self.failures:
                cause = next((self.failures[p.key] for p in other.parents.values() if p.key in self.failures), None)
                if cause is not None:
                    first = cause.because_of or cause.stage.label
                    self.failures[other.key] = Failure(other, cause.message, cause.exit_code, first)

    def _check_writable(self) -> None:
        root = self.store.root
        with machine_errors(root):
            root.mkdir(parents=True, exist_ok=True)
            probe = root / ".writable"
            probe.write_text("", encoding="utf-8")
            probe.unlink()


def raise_if_nothing_worked(outcome: Outcome) -> None:
    """Raise the error itself where preparing failed and no row of any table can exist."""
    preparing = [failure for failure in outcome.failures.values() if failure.stage.kind == "prepare"]
    first = next((failure for failure in preparing if failure.because_of is None), None)
    if first is not None:
        error = HarnessError(first.message)
        if first.exit_code == MachineError.exit_code:
            error = MachineError(first.message)
        raise error
