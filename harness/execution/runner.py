"""Carry out a plan: every stage whose parents are done, on as many workers as allowed, until nothing is left to do."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from harness.errors import HarnessError, InputError, MachineError, StageError, StorageError
from harness.execution.columns import DataColumns
from harness.execution.contexts import check_contexts
from harness.execution.interrupt import EARLY, Interrupted
from harness.execution.keep import made_before, prune, required
from harness.execution.overlap import check_prepared
from harness.execution.pool import Pool
from harness.execution.preflight import preflight
from harness.execution.presence import others, present
from harness.execution.rehearsal import inspect_in
from harness.execution.unparsed import unparsed
from harness.plan import Plan, Stage, build_plan
from harness.stages import Order, Parent
from harness.store import CorruptError, Damage
from harness.store.files import machine_errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.benchmark.schema import Benchmark
    from harness.execution.pool import Event
    from harness.plugins import Registry
    from harness.store import Store

#: Which kinds go first when several stages are ready: what others wait for.
_PRIORITY = {"prepare": 0, "train": 1, "precompute": 1, "generate": 2, "score": 3}

#: How often a stage is tried again after a damaged file of a parent was found and the parent made anew.
_REPAIRS = 2

#: Ends of a stage that its worker did not live to tell.
_GONE = {"died", "stalled"}

#: Seconds that workers have to keep what they have, where a scheduler warns of an end to come.
_EARLY_GRACE = 600.0


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

    def found(self, stage: Stage) -> None:
        """Say that another run has made a stage meanwhile."""

    def repairing(self, stage: Stage, message: str) -> None:
        """Say that a stage found damage, and that what is damaged will be made anew."""

    def rebuilding(self, stage: Stage, reason: str) -> None:
        """Say that a stage is made again which was made before, and why."""

    def retrying(self, stage: Stage, message: str) -> None:
        """Say that a stage's process died, and that the stage is tried once more."""


@dataclass
class Failure:
    """A stage that failed, or that cannot be done because another one failed."""

    stage: Stage
    message: str
    exit_code: int
    because_of: str | None = None
    """The label of the stage that failed first."""


@dataclass(frozen=True)
class Rebuilt:
    """A stage that was made again."""

    kind: str
    label: str
    reason: str


@dataclass
class Outcome:
    """What came of a run."""

    plan: Plan
    failures: dict[str, Failure] = field(default_factory=dict)
    """By the stage's key."""
    made: int = 0
    reused: int = 0
    rebuilt: dict[str, Rebuilt] = field(default_factory=dict)
    """What was made again that had been made before, by the stage's key."""
    deaths: dict[str, Failure] = field(default_factory=dict)
    """Stages that were tried once more because their process died, and how, by the stage's key."""

    def done(self, stage: Stage) -> bool:
        """Return whether a stage has a result."""
        return stage.key not in self.failures


@dataclass(frozen=True)
class Settings:
    """How to run; nothing here changes a result."""

    jobs: int
    ranks: int
    device: str
    threads: int
    blocked: tuple[str, ...] = ()
    retry_unparsed: bool = False
    """Whether judges are asked again where a reply held no verdict."""
    keep: Callable[[], bool] = lambda: False
    """Asked all the time: whether what is being made is to keep its state now."""


def execute(benchmark: Benchmark, registry: Registry, store: Store, settings: Settings, watcher: Watcher) -> Outcome:
    """Make every missing stage of the benchmark and return what came of it.

    Raises:
        InputError: the data or a model cannot be prepared, or no row could be made at all.
        MachineError: results cannot be written, or the machine lacks what every stage needs.
        StageError: as InputError, where it is not the input's fault.
    """
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
        self.rebuilt: dict[str, Rebuilt] = {}
        self.finished: set[str] = set()
        self.began: dict[str, float] = {}
        self.repairs: dict[str, int] = {}
        self.retry_before = time.time() if settings.retry_unparsed else 0.0
        self.again = unparsed(self.plan, registry, store) if settings.retry_unparsed else set[str]()
        self.deaths: dict[str, Failure] = {}
        self.made = 0
        self.clearing = False
        """Whether what is damaged is moved out of the way as soon as it is seen."""
        self.overlap_checked = False
        self.columns = DataColumns(registry, store)

    def run(self) -> Outcome:
        self._mark_needed()
        reused = len(self.finished)
        if self.needed:
            preflight(self.needed, self.registry)
            self._check_writable()
            self.store.sweep()
            self.clearing = True
            self._clear_away()
            with present(self.store):
                self._make()
        if not self.failures and not others(self.store):
            self._prune()
        outcome = Outcome(self.plan, self.failures, self.made, reused, self.rebuilt, self.deaths)
        _raise_if_nothing_worked(outcome)
        return outcome

    def _make(self) -> None:
        kinds = sorted({stage.kind for stage in self.needed})
        settings, stall = self.settings, 60 * self.benchmark.execution.rank_timeout_minutes
        pool = Pool(settings.jobs, threads=settings.threads, ranks=settings.ranks, kinds=kinds, stall_seconds=stall)
        try:
            self._inspect(pool)
            while True:
                while self._hand_out(pool):
                    pass
                if not pool.busy():
                    break
                for event in pool.wait(0.5):
                    self._hear(pool, event)
                if settings.keep():
                    pool.keep()
        except Interrupted as error:
            if error.number == EARLY:
                pool.grace = _EARLY_GRACE
            raise
        finally:
            pool.close()
        left = [stage for stage in self.needed if stage.key not in self.finished and stage.key not in self.failures]
        if left:
            raise StageError(f"{len(left)} stages were never ready to be made", where=left[0].label)

    def _inspect(self, pool: Pool) -> None:
        """Let a worker check every plugin that is needed, before anything is made that rests on it."""
        failed = inspect_in(pool, self.needed, self.store.root, self.settings.threads, self.settings.blocked)
        if failed is not None:
            raise _error(failed["exit_code"], failed["message"])

    def _hand_out(self, pool: Pool) -> bool:
        """Give every idle worker a stage; return whether others may have become ready without one."""
        if len(pool.busy()) == pool.jobs:  # most of what is heard is progress
            return False
        running = {worker.stage.key for worker in pool.busy() if worker.stage}
        for stage in self._ready(running):
            if self._made_elsewhere(stage):
                return True
            worker = pool.idle()
            if worker is None:
                return False
            self.began[stage.key] = time.monotonic()
            self.watcher.started(worker.number, stage)
            worker.give(stage, self._order(stage))
        return False

    def _made_elsewhere(self, stage: Stage) -> bool:
        """Take over what another run on this store has made meanwhile."""
        record = self.store.find(stage.kind, stage.id or "") if stage.key not in self.again else None
        if record is None or record.manifest.get("let_go"):
            return False
        self.finished.add(stage.key)
        self.watcher.found(stage)
        if self._clears_up(stage):
            self._look_again()
        return True

    def _ready(self, running: set[str]) -> list[Stage]:
        # what is wrong with any data is said before anything is trained
        waiting = any(
            stage.kind == "prepare" and stage.config["what"] == "rows" and stage.key not in self.finished
            for stage in self.needed
        )
        ready = [
            stage
            for stage in self.needed
            if stage.key not in self.finished
            and stage.key not in self.failures
            and stage.key not in running
            and stage.id is not None
            and not (waiting and stage.kind == "train")
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
            "retry_before": self.retry_before,
            "replace": stage.key in self.again,
            "checkpoint_minutes": self.benchmark.execution.checkpoint_minutes,
            "rank_timeout_minutes": self.benchmark.execution.rank_timeout_minutes,
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
            self.again.discard(stage.key)
            self.watcher.ended(worker.number, stage, seconds, None)
            if self._clears_up(stage):
                self._look_again()
            return
        if event.kind not in _GONE and worker.ranks > 1 and stage.kind == "train":
            pool.replace(worker)
        self._answer_failure(worker.number, stage, event, seconds)

    def _answer_failure(self, worker: int, stage: Stage, event: Event, seconds: float) -> None:
        message, exit_code = event.body["message"], event.body["exit_code"]
        if stage.key in self.again:  # the earlier result stays
            self.again.discard(stage.key)
            self.watcher.ended(worker, stage, seconds, f"asked again in vain, the earlier result stays: {message}")
        if self._made_elsewhere(stage):
            return
        if event.kind == "damaged" and self.repairs.get(stage.key, 0) < _REPAIRS:
            self.repairs[stage.key] = self.repairs.get(stage.key, 0) + 1
            self.watcher.repairing(stage, message)
            damage = event.body["damage"]
            self._set_aside(Damage(folder=self.store.folder(damage["kind"], damage["id"]), **damage))
            self._look_again()
            return
        if event.kind == "died" and stage.key not in self.deaths:  # killed from outside, perhaps for want of memory
            self.deaths[stage.key] = Failure(stage, message, exit_code)
            self.watcher.retrying(stage, message)
            return
        if (stage.kind == "prepare" and event.kind not in _GONE) or event.body.get("fatal"):
            raise _error(exit_code, message)
        self._fail(stage, message, exit_code)
        self.watcher.ended(worker, stage, seconds, message)
        if self._chooses():
            self._look_again()

    def _clears_up(self, stage: Stage) -> bool:
        """Return whether more of the plan is clear once a stage is done: it prepared data, or was the last trial."""
        scores = {s.key for tuned in self.plan.tuned.values() for trial in tuned.trials for s in trial.scores}
        return stage.kind == "prepare" or (stage.key in scores and self._chooses())

    def _chooses(self) -> bool:
        """Return whether all trials of a row are over, and the plan does not know it yet."""
        over = self.finished | self.failures.keys()
        return any(
            not tuned.over and all(stage.key in over for trial in tuned.trials for stage in trial.scores)
            for tuned in self.plan.tuned.values()
        )

    def _give_up(self) -> None:
        """Let the rows fail that no trial has left anything to choose for."""
        for (model, label), tuned in self.plan.tuned.items():
            if not tuned.over or tuned.chosen is not None:
                continue
            scores = [stage for trial in tuned.trials for stage in trial.scores]
            cause = next((self.failures[stage.key] for stage in scores if stage.key in self.failures), None)
            message = cause.message if cause else "no trial has a value to choose by"
            chains = (row.chain for row in self.plan.rows if (row.model, row.label) == (model, label))
            for held in {stage.key: stage for chain in chains for stage in chain if stage.held}.values():
                if held.key not in self.failures:
                    first = (cause.because_of or cause.stage.label) if cause else None
                    self._fail(held, message, cause.exit_code if cause else 1, because_of=first)

    def _look_again(self) -> None:
        """Plan again: what was just prepared settles the ids of what depends on it, and what is damaged is gone."""
        self.plan = build_plan(self.benchmark, self.registry, self.store, failed=self.failures.keys())
        self._mark_needed()
        if self.clearing:
            self._clear_away()

    def _clear_away(self) -> None:
        """Move the stages out of the way that the plan found damaged: what is made anew needs their places."""
        for damage in self.plan.damaged.values():
            self.store.set_aside(damage)

    def _set_aside(self, damage: Damage) -> None:
        """Move a stage out of the way whose damage showed when it was read."""
        self.store.set_aside(damage)
        for stage in self.plan.stages.values():
            if (stage.kind, stage.id) == (damage.kind, damage.id):
                self.rebuilt[stage.key] = Rebuilt(stage.kind, stage.label, f"{damage.file} {damage.details}")

    def _prune(self) -> None:
        try:
            prune(self.plan, self.benchmark, self.store)
        except StorageError as error:
            if self.made or not error.read_only:
                raise

    def _mark_needed(self) -> None:
        self.needed = required(self.plan, self.store, self.again)
        self.finished = self.plan.stages.keys() - {stage.key for stage in self.needed}
        for key, reason in made_before(self.plan, self.needed, self.store).items():
            if key not in self.rebuilt:
                stage = self.plan.stages[key]
                self.rebuilt[key] = Rebuilt(stage.kind, stage.label, reason)
                self.watcher.rebuilding(stage, reason)
        self._check_overlap()
        self.columns.check(self.needed)
        check_contexts(self.needed, self.store)
        self.watcher.planned(self.plan, self.needed)
        self._give_up()

    def _check_overlap(self) -> None:
        """Refuse overlapping data before anything is trained on it."""
        if self.overlap_checked or not any(stage.kind in {"train", "generate"} for stage in self.needed):
            return
        try:
            self.overlap_checked = check_prepared(self.plan, self.store, self.benchmark, self.failures.keys())
        except CorruptError as error:
            self.watcher.repairing(self.plan.train, str(error))
            self._set_aside(error.damage)
            self._look_again()

    def _fail(self, stage: Stage, message: str, exit_code: int, *, because_of: str | None = None) -> None:
        self.failures[stage.key] = Failure(stage, message, exit_code, because_of)
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


def _error(exit_code: int, message: str) -> HarnessError:
    """Return the error behind a message that a worker sent."""
    kinds: dict[int, type[HarnessError]] = {2: InputError, 3: MachineError}
    return kinds.get(exit_code, StageError)(message)


def _raise_if_nothing_worked(outcome: Outcome) -> None:
    """Raise the error itself where no cell of any table can exist."""
    plan = outcome.plan
    shown = "generate" if plan.evaluations else "train"
    if any(stage.kind == shown and outcome.done(stage) for stage in plan.stages.values()):
        return
    first = next((failure for failure in outcome.failures.values() if failure.because_of is None), None)
    if first is not None:
        raise _error(first.exit_code, first.message)
