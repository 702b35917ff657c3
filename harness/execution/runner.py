"""Carry out a plan: every stage whose parents are done, on as many workers as allowed, until nothing is left to do."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness import disk
from harness.errors import StageError, StorageError
from harness.execution.columns import DataColumns
from harness.execution.concerned import rows_of, without_result
from harness.execution.contexts import check_contexts
from harness.execution.footprint import lack_of_disk
from harness.execution.interrupt import EARLY, Interrupted
from harness.execution.keep import made_before, quarantine, required
from harness.execution.order import Order
from harness.execution.outcome import Failure, Outcome, Rebuilt, error_of, nothing_works, raise_if_nothing_worked
from harness.execution.overlap import check_prepared
from harness.execution.places import gpus_of_workers
from harness.execution.pool import Pool
from harness.execution.preflight import preflight
from harness.execution.presence import others, present
from harness.execution.rehearsal import inspect_in
from harness.execution.release import Releases
from harness.execution.unparsed import unparsed
from harness.execution.watcher import NO_WORKER
from harness.plan import Plan, Stage, build_plan
from harness.spec.plugins import INSTALLED, PluginSelection
from harness.spec.stages.rows import RowsConfig
from harness.stages.request import Parent, StageRequest
from harness.store.damage import CorruptError, Damage
from harness.store.files import machine_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from harness.execution.pool import Event
    from harness.execution.watcher import Watcher
    from harness.plugins.registry import Registry
    from harness.spec.benchmark import Benchmark
    from harness.spec.stages.kinds import AnyStageConfig
    from harness.store.stages import Store

#: How often a stage is tried again after a damaged file of a parent was found and the parent rebuilt.
_REPAIRS = 2

#: Ends of a stage that its worker did not live to tell.
_GONE = {"died", "stalled"}

#: Seconds that workers have to keep what they have, where a scheduler warns of an end to come.
_EARLY_GRACE = 600.0


@dataclass(frozen=True)
class RunSettings:
    """How to run; nothing here changes a result."""

    jobs: int
    ranks: int
    device: str
    threads: int
    plugins: PluginSelection = INSTALLED
    retry_unparsed: bool = False
    """Whether judges are asked again where a reply held no verdict."""
    keep: Callable[[], bool] = lambda: False
    """Asked all the time: whether what is being made is to keep its state now."""
    made: Callable[[Stage], object] = lambda _: None
    """Told of each stage that was made."""
    among: Callable[[Plan], Collection[str]] | None = None
    """Returns the keys of the stages of a plan that are asked for, with all their parents; None asks for all."""


def execute(benchmark: Benchmark, registry: Registry, store: Store, settings: RunSettings, watcher: Watcher) -> Outcome:
    """Make every missing stage of the benchmark and return what came of it.

    Raises:
        InputError: the data or a model cannot be prepared, or no row could be made at all.
        MachineError: results cannot be written, or the machine lacks what every stage needs.
        StageError: as InputError, where it is not the input's fault.
    """
    return _Runner(benchmark, registry, store, settings, watcher).run()


class _Runner:
    def __init__(
        self, benchmark: Benchmark, registry: Registry, store: Store, settings: RunSettings, watcher: Watcher
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
        self.left_out: frozenset[str] = frozenset()
        self.began: dict[str, float] = {}
        self.repairs: dict[str, int] = {}
        self.retry_before = time.time() if settings.retry_unparsed else 0.0
        self.again = unparsed(self.plan, registry, store) if settings.retry_unparsed else set[str]()
        self.deaths: dict[str, Failure] = {}
        self.warned: set[str] = set()
        self.said = 0
        self.made = 0
        self.releases = Releases(benchmark, store)
        self.mark: Path | None = None
        self.clearing = False
        """Whether what is damaged is moved out of the way as soon as it is seen."""
        self.overlap_checked = False
        self.columns = DataColumns(registry, store)

    def run(self) -> Outcome:
        self._mark_needed()
        reused = len(self.finished - self.left_out)
        if self.needed:
            preflight(self.needed, self.registry)
            self._check_writable()
            if lack := lack_of_disk(self.plan, self.needed, self.benchmark, self.store, self.settings.jobs):
                self.watcher.noted(lack)
            self.store.sweep()
            self.clearing = True
            self._clear_away()
            with present(self.store) as self.mark:
                self._make()
        else:
            with contextlib.suppress(OSError):  # where nothing may be written, nothing has to be
                self.store.sweep()
        self._release()
        told = frozenset(self.warned)
        outcome = Outcome(self.plan, self.failures, self.made, reused, self.rebuilt, self.deaths, told, self.left_out)
        raise_if_nothing_worked(outcome, said=self.said)
        return outcome

    def _make(self) -> None:
        kinds = sorted({stage.config.kind for stage in self.needed})
        settings, stall = self.settings, 60 * self.benchmark.execution.rank_timeout_minutes
        gpus = gpus_of_workers(settings.device, settings.jobs, settings.ranks)
        threads, ranks = settings.threads, settings.ranks
        pool = Pool(settings.jobs, threads=threads, ranks=ranks, kinds=kinds, stall_seconds=stall, gpus=gpus)
        try:
            self._inspect(pool)
            while True:
                while self._hand_out(pool):
                    pass
                if not pool.busy():
                    break
                for event in pool.wait(0.5):
                    self._on_event(pool, event)
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
        failed = inspect_in(pool, self.needed, self.store.root, self.settings.plugins)
        if failed is not None:
            raise error_of(failed["exit_code"], failed["message"])

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
            worker.give(stage, self._request(stage))
        return False

    def _made_elsewhere(self, stage: Stage) -> bool:
        """Take over what another run on this store has made meanwhile."""
        record = self.store.find(stage.kind, stage.id or "") if stage.key not in self.again else None
        if record is None or record.manifest.get("pruned"):
            return False
        self.finished.add(stage.key)
        self.watcher.found(stage)
        if self._settles_ids(stage):
            self._replan()
        return True

    def _ready(self, running: set[str]) -> list[Stage]:
        # what is wrong with any data is said before anything is trained
        left = [s for s in self.needed if s.key not in self.finished and s.key not in self.failures]
        waiting = any(isinstance(stage.config, RowsConfig) for stage in left)
        ready = [
            stage
            for stage in left
            if stage.key not in running
            and stage.id is not None
            and not (waiting and stage.kind == "train")
            and all(parent.key in self.finished for parent in stage.parents.values())
        ]
        return sorted(ready, key=self.order)

    def _request(self, stage: Stage) -> StageRequest[AnyStageConfig]:
        assert stage.id is not None
        parents = {}
        for name, parent in stage.parents.items():
            current = self.plan.stages[parent.key]
            assert current.id is not None
            parents[name] = Parent(current.kind, current.id)
        changes = {
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
        runtime = stage.runtime.model_copy(update=changes)
        return StageRequest(
            stage.id, stage.label, stage.config, parents, runtime, self.store.root, self.settings.plugins
        )

    def _sources(self) -> dict[str, str]:
        """Return where models lie on disk, by the digest of their content."""
        stages = self.plan.stages.values()
        return {stage.content: path for stage in stages if stage.content and (path := stage.runtime.path)}

    def _on_event(self, pool: Pool, event: Event) -> None:
        worker, body = event.worker, event.body
        stage = worker.stage
        if stage is None:
            return
        if event.kind == "progress":
            self.watcher.progress(worker.number, stage, body["done"], body["total"], body["unit"], body["note"])
            return
        if event.kind == "warned":
            if body["text"] not in self.warned:
                self.warned.add(body["text"])
                self.watcher.warned(stage, rows_of(self.plan, stage), body["text"])
            return
        seconds = time.monotonic() - self.began[stage.key]
        worker.stage = None
        if event.kind == "done":
            self.made += 1
            self.finished.add(stage.key)
            self.again.discard(stage.key)
            self.watcher.ended(worker.number, stage, seconds)
            self.settings.made(stage)
            if self._settles_ids(stage):
                self._replan()
            self.releases.made(stage)
            self._release()
            return
        if event.kind not in _GONE and worker.ranks > 1 and stage.kind == "train":
            pool.replace(worker)
        self._answer_failure(worker.number, stage, event)

    def _answer_failure(self, worker: int, stage: Stage, event: Event) -> None:
        message, exit_code = event.body["message"], event.body["exit_code"]
        asked_again = stage.key in self.again
        self.again.discard(stage.key)
        if self._made_elsewhere(stage):
            if asked_again:
                self.watcher.failed(worker, stage, f"asked again in vain, the earlier result stays: {message}", "")
            return
        if event.kind == "damaged" and self.repairs.get(stage.key, 0) < _REPAIRS:
            self.repairs[stage.key] = self.repairs.get(stage.key, 0) + 1
            self.watcher.repairing(stage, message)
            damage = event.body["damage"]
            self._quarantine(Damage(folder=self.store.folder(damage["kind"], damage["id"]), **damage))
            self._replan()
            return
        if event.kind == "died" and stage.key not in self.deaths:  # killed from outside, perhaps for want of memory
            self.deaths[stage.key] = Failure(stage, message, exit_code)
            self.watcher.retrying(stage, message)
            return
        if (stage.kind == "prepare" and event.kind not in _GONE) or event.body.get("fatal"):
            raise error_of(exit_code, message)
        before = set(self.failures)
        self._fail(stage, message, exit_code)
        self._tell(worker, stage, message, before)
        if stage.kind == "prepare" or self._chooses():  # the other data can be checked without it
            self._replan()

    def _tell(self, worker: int, stage: Stage, message: str, before: Collection[str]) -> None:
        """Say why a stage failed and what has no result since then; an only reason is raised in the end."""
        if self.said or not nothing_works(self.plan, self.failures, self.left_out):
            self.said += 1
            self.watcher.failed(worker, stage, message, without_result(self.plan, self.failures.keys() - set(before)))

    def _settles_ids(self, stage: Stage) -> bool:
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

    def _fail_untunable(self) -> None:
        """Let the rows fail that no trial has left anything to choose for."""
        for (model, label), tuned in self.plan.tuned.items():
            if not tuned.over or tuned.chosen is not None:
                continue
            scores = [stage for trial in tuned.trials for stage in trial.scores]
            cause = next((self.failures[stage.key] for stage in scores if stage.key in self.failures), None)
            message = cause.message if cause else "no trial has a value to choose by"
            chains = (row.chain for row in self.plan.rows if (row.model, row.label) == (model, label))
            every = {stage.key: stage for chain in chains for stage in chain if stage.held}.values()
            before, waiting = set(self.failures), [held for held in every if held.key not in self.failures]
            for held in waiting:
                if held.key not in self.failures:
                    first = (cause.because_of or cause.stage.label) if cause else None
                    self._fail(held, message, cause.exit_code if cause else 1, because_of=first)
            if waiting:
                self._tell(NO_WORKER, waiting[0], message, before)

    def _replan(self) -> None:
        """Plan again: what was just prepared settles the ids of what depends on it, and what is damaged is gone."""
        self.plan = build_plan(self.benchmark, self.registry, self.store, failed=self.failures.keys())
        self._mark_needed()
        if self.clearing:
            self._clear_away()

    def _clear_away(self) -> None:
        """Move the stages out of the way that the plan found damaged: what is rebuilt needs their places."""
        for damage in self.plan.damaged.values():
            quarantine(damage, self.store)

    def _quarantine(self, damage: Damage) -> None:
        """Move a stage out of the way whose damage showed when it was read."""
        quarantine(damage, self.store)
        for stage in self.plan.stages.values():
            if (stage.kind, stage.id) == (damage.kind, damage.id):
                self.rebuilt[stage.key] = Rebuilt(stage.kind, stage.label, f"{damage.file} {damage.details}")

    def _release(self) -> None:
        """Let the weights go that nothing will read any more; another run on this store may still read them."""
        if others(self.store, self.mark):
            return
        try:
            self.releases.release(self.finished - self.left_out)
        except StorageError as error:
            if self.made or not error.read_only:
                raise

    def _mark_needed(self) -> None:
        among = None if self.settings.among is None else self.settings.among(self.plan)
        self.needed = required(self.plan, self.store, self.again, among=among)
        self.order = Order(self.plan)
        self.releases.planned(self.plan)
        self.finished = self.plan.stages.keys() - {stage.key for stage in self.needed}
        if among is not None:
            self.left_out = frozenset(key for key, one in self.plan.stages.items() if not (one.done or key in among))
        for key, reason in made_before(self.plan, self.needed, self.store).items():
            if key not in self.rebuilt:
                stage = self.plan.stages[key]
                self.rebuilt[key] = Rebuilt(stage.kind, stage.label, reason)
                self.watcher.rebuilding(stage, reason, damaged=key in self.plan.damaged)
        self._check_overlap()
        self.columns.check(self.needed)
        check_contexts(self.needed, self.store)
        self.watcher.planned(self.plan, [stage for stage in self.needed if stage.key not in self.failures])
        self._fail_untunable()

    def _check_overlap(self) -> None:
        """Refuse overlapping data before anything is trained on it."""
        if self.overlap_checked or not any(stage.kind in {"train", "generate"} for stage in self.needed):
            return
        try:
            self.overlap_checked = check_prepared(self.plan, self.store, self.benchmark, self.failures.keys())
        except CorruptError as error:
            self.watcher.repairing(self.plan.train, str(error))
            self._quarantine(error.damage)
            self._replan()

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
            disk.make_folders(root)
            probe = root / ".writable"
            disk.write(probe)
            disk.remove_file(probe, missing_ok=True)  # another run may do the same at this moment
