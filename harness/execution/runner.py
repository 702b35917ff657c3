"""Carry out a plan: every stage whose parents are done, on as many workers as allowed, until nothing is left to do."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from harness import disk
from harness.errors import StageError, StorageError
from harness.execution.asking import needs_of, request_of
from harness.execution.columns import DataColumns
from harness.execution.concerned import rows_of, without_result
from harness.execution.contexts import check_contexts
from harness.execution.executors.choose import open_executor
from harness.execution.executors.interface import GONE, Needs, Opening
from harness.execution.executors.local import local
from harness.execution.executors.survey import asked, check_nodes
from harness.execution.footprint import lack_of_disk
from harness.execution.interrupt import EARLY, Interrupted
from harness.execution.keep import made_before, quarantine, required
from harness.execution.order import Order
from harness.execution.outcome import Failure, Outcome, Rebuilt, error_of, nothing_works, raise_if_nothing_worked
from harness.execution.overlap import check_prepared
from harness.execution.pool import Pool
from harness.execution.preflight import preflight
from harness.execution.presence import AtWork, others, present
from harness.execution.rehearsal import inspect_in, uses
from harness.execution.release import Releases
from harness.execution.unparsed import unparsed
from harness.execution.watcher import NO_WORKER
from harness.plan import Stage, build_plan
from harness.spec.stages.rows import RowsConfig
from harness.store.damage import CorruptError, Damage
from harness.store.files import machine_errors

if TYPE_CHECKING:
    from collections.abc import Collection

    from harness.execution.executors.interface import Event, Executor
    from harness.execution.settings import RunSettings
    from harness.execution.watcher import Watcher
    from harness.plugins.registry import Registry
    from harness.spec.benchmark import Benchmark
    from harness.store.stages import Store

#: How often a stage is tried again after a damaged file of a parent was found and the parent rebuilt.
_REPAIRS = 2

#: Seconds that workers have to keep what they have, where a scheduler warns of an end to come.
_EARLY_GRACE = 600.0


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
        self.losses: dict[str, int] = {}
        self.device = settings.device
        self.warned: set[str] = set()
        self.said = 0
        self.made = 0
        self.releases = Releases(benchmark, store)
        self.at_work = AtWork(None, settings.execution.executor)
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
            with present(self.store, self.settings.execution.executor) as self.at_work:
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
        settings, stall = self.settings, 60 * self.settings.execution.rank_timeout_minutes
        opening = Opening(
            settings.execution, settings.jobs, settings.threads, settings.ranks, tuple(kinds), stall, self.store.root
        )
        executor = open_executor(opening)
        try:
            self.device = executor.device(settings.device)
            self._inspect(executor, opening)
            while True:
                while self._hand_out(executor):
                    pass
                if not executor.busy():
                    break
                for event in executor.wait(0.5):
                    self._on_event(event)
                if settings.keep():
                    executor.keep()
        except Interrupted as error:
            if error.number == EARLY:
                executor.grace = _EARLY_GRACE
            raise
        finally:
            executor.close()
        left = [stage for stage in self.needed if stage.key not in self.finished and stage.key not in self.failures]
        if left:
            raise StageError(f"{len(left)} stages were never ready to be made", where=left[0].label)

    def _inspect(self, executor: Executor, opening: Opening) -> None:
        """Let a worker of this machine check every plugin that is needed, before anything is made that rests on it.

        Other machines say that they have the same plugins.
        """
        used = [(use.kind, use.name) for use in uses(self.needed)]
        request = asked(opening.kinds, used, self.settings.plugins, self.store.root)
        for text in check_nodes(executor.survey(request), request):
            self.warned.add(text)
            self.watcher.warned(self.needed[0], [self.settings.execution.executor], text)
        pool = executor if isinstance(executor, Pool) else local(replace(opening, jobs=1, ranks=1))
        try:
            failed = inspect_in(pool, self.needed, self.store.root, self.settings.plugins)
        finally:
            if pool is not executor:
                pool.close()
        if failed is not None:
            raise error_of(failed["exit_code"], failed["message"])

    def _hand_out(self, executor: Executor) -> bool:
        """Hand out stages while there is room; return whether others may have become ready without one."""
        if len(executor.busy()) == executor.jobs:  # most of what is heard is progress
            return False
        running = {place.stage.key for place in executor.busy() if place.stage}
        remote = self.settings.execution.executor != "local"
        for stage in self._ready(running):
            if self._made_elsewhere(stage):
                return True
            again, before, device = stage.key in self.again, self.retry_before, self.device
            request = request_of(
                stage, self.plan, self.store, self.settings, device=device, retry_before=before, replace=again
            )
            needs = needs_of(stage, self.plan, self.registry, self.settings, device=device) if remote else Needs()
            place = executor.begin(stage, request, needs)
            if place is None:
                return False
            self.began[stage.key] = time.monotonic()
            self.at_work.begin(stage)
            self.watcher.started(place.number, stage)
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

    def _on_event(self, event: Event) -> None:
        number, stage, body = event.place.number, event.stage, event.body
        if stage is None:
            return
        if event.kind == "began":
            self.began[stage.key] = time.monotonic()
            self.at_work.begin(stage, body["host"])
            self.watcher.placed(number, stage, body["host"])
            return
        if event.kind == "progress":
            self.watcher.progress(number, stage, body["done"], body["total"], body["unit"], body["note"])
            return
        if event.kind == "warned":
            if body["text"] not in self.warned:
                self.warned.add(body["text"])
                self.watcher.warned(stage, rows_of(self.plan, stage), body["text"])
            return
        seconds = time.monotonic() - self.began[stage.key]
        self.at_work.end(stage)
        if event.kind == "done":
            self.made += 1
            self.finished.add(stage.key)
            self.again.discard(stage.key)
            self.watcher.ended(number, stage, seconds)
            self.settings.made(stage)
            if self._settles_ids(stage):
                self._replan()
            self.releases.made(stage)
            self._release()
            return
        self._answer_failure(number, stage, event)

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
        if event.kind == "lost" and self.losses.get(stage.key, 0) + 1 < self.settings.execution.attempts:
            self.losses[stage.key] = self.losses.get(stage.key, 0) + 1
            self.watcher.retrying(stage, message)
            return
        if (stage.kind == "prepare" and event.kind not in GONE) or event.body.get("fatal"):
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
        done = self.finished - self.left_out
        if not any(self.releases.due(done)) or others(self.store, self.at_work.mark):
            return
        try:
            self.releases.release(done)
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
