"""Which weights a run lets go, and when: as soon as nothing of its plan will read them."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from harness.execution.keep import base_of
from harness.spec.results.files import CHECKPOINT, LOGPROBS, MODULES, OPTIMIZER, POINTS
from harness.spec.stages.train import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from harness.plan import Plan, Stage
    from harness.spec.benchmark import Benchmark
    from harness.store.stages import Store


class Releases:
    """What stages of a plan lose by ``recipe.keep``, and what must be done before.

    ``all`` keeps everything, the points of a budget too. ``final`` keeps the checkpoints that rows end with, those at
    which methods start (with their optimiser, so that another method can start there too) and reward models. ``none``
    keeps no weights and no stored log-probs. Weights at which a clock ended a budget stay under each of them: they
    cannot be made again alike, and later answers must be those of the same training as earlier ones.

    Weights go when every stage that reads them is done; those of a trial not before all trials of its row have a score,
    since the row goes on from the best one.
    """

    def __init__(self, benchmark: Benchmark, store: Store) -> None:
        """Know of no plan yet."""
        self._benchmark, self._store = benchmark, store
        self._gone: set[tuple[str, str]] = set()

    def planned(self, plan: Plan) -> None:
        """Look through a plan, which is another one each time more of it is known."""
        self._stages: dict[tuple[str, str], list[Stage]] = defaultdict(list)
        for stage in plan.stages.values():
            if stage.kind in {"train", "precompute"}:
                self._stages[_place(stage)].append(stage)  # the best trial and its row are one
        goes = _by_policy(plan, self._benchmark)
        self._goes = {
            place: sorted(set.intersection(*(set(goes(stage)) for stage in stages)))
            for place, stages in self._stages.items()
        }
        readers = _readers(plan)
        self._readers = {
            place: set().union(*(readers[stage.key] for stage in stages)) for place, stages in self._stages.items()
        }

    def made(self, stage: Stage) -> None:
        """Take note that a stage was made, perhaps again."""
        self._gone.discard(_place(stage))

    def due(self, finished: Collection[str]) -> Iterator[tuple[str, str]]:
        """Return the kinds and ids of the stages that may lose something, where those with these keys are done."""
        for place, stages in self._stages.items():
            if place in self._gone or not self._goes[place] or stages[0].key not in finished:
                continue
            if self._readers[place].issubset(finished):
                yield place

    def release(self, finished: Collection[str]) -> None:
        """Remove what is due.

        Raises:
            StorageError: the store may not be changed.
        """
        for place in list(self.due(finished)):
            self._store.prune(*place, self._goes[place])
            self._gone.add(place)

    def ends(self) -> Iterator[tuple[Stage, frozenset[str], tuple[str, ...]]]:
        """Yield what trains, the keys of the stages that read it, and what it loses then."""
        for place, (stage, *_) in self._stages.items():
            yield stage, frozenset(self._readers[place]), tuple(self._goes[place])


def _readers(plan: Plan) -> dict[str, set[str]]:
    """Return the keys of the stages that each stage waits for before it may lose weights.

    They are its children, those of adapters on its weights, and of a trial the scores of all trials of its row.
    """
    readers: dict[str, set[str]] = {key: set() for key in plan.stages}
    for stage in plan.stages.values():
        for parent in stage.parents.values():
            current: Stage | None = plan.stages[parent.key]
            while current is not None:
                readers[current.key].add(stage.key)
                current = base_of(current)
    for tuned in plan.tuned.values():
        scores = {score.key: score for trial in tuned.trials for score in trial.scores}
        below = list(scores.values())
        while below:
            for parent in below.pop().parents.values():
                readers[parent.key] |= scores.keys()
                below.append(parent)
    return readers


def _place(stage: Stage) -> tuple[str, str]:
    """Return where the store keeps a stage; its key stands for an id that is not known yet."""
    return stage.kind, stage.id or stage.key


def _by_policy(plan: Plan, benchmark: Benchmark) -> Callable[[Stage], tuple[str, ...]]:
    """Return what says which files a stage loses in the end."""
    policy = benchmark.recipe.keep
    ends = {row.checkpoint.key for row in plan.rows}
    rewards = {stages.model.key for stages in plan.reward_models.values()}
    starts = {row.chain[-1].parents["start"].key for row in plan.rows if row.chain}
    kept = _with_bases(plan, ends | starts | rewards)

    def goes(stage: Stage) -> tuple[str, ...]:
        gone: tuple[str, ...] = ()
        if policy == "all":
            return gone
        if stage.kind == "precompute":
            return (LOGPROBS,) if policy == "none" else gone
        if policy == "none" or stage.key not in kept:
            gone = (CHECKPOINT, OPTIMIZER, MODULES, POINTS)
        elif stage.key in rewards:
            gone = (OPTIMIZER,)  # its head is one of its modules
        elif stage.key not in starts:
            gone = (OPTIMIZER, MODULES, POINTS)
        if gone and isinstance(stage.config, TrainConfig) and stage.config.ended_by_clock:
            gone = (OPTIMIZER,)
        return gone

    return goes


def _with_bases(plan: Plan, keys: set[str]) -> set[str]:
    """Return the keys of some stages and of all whose weights theirs go on."""
    whole = set(keys)
    for key in keys:
        below = base_of(plan.stages[key])
        while below is not None:
            whole.add(below.key)
            below = base_of(below)
    return whole
