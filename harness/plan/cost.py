"""What a whole run costs in time, as it is planned and with other numbers of seeds and prompts."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from harness.spec.stages.new_model import NewModelConfig

if TYPE_CHECKING:
    from collections.abc import Collection

    from harness.plan.estimate import Estimate
    from harness.plan.graph import Plan, Stage


class Cost(NamedTuple):
    """Seconds that are left of a run."""

    work: float
    """On one worker."""
    wall: float
    """With as many workers as there are: no less than the longest chain of stages takes."""


class _Part(NamedTuple):
    """Stages of one sort: all of them, and what is left of them."""

    whole: float = 0.0
    left: float = 0.0

    def with_more(self, seconds: float, *, left: bool) -> _Part:
        return _Part(self.whole + seconds, self.left + (seconds if left else 0.0))


class RunCost:
    """The time that a run needs."""

    def __init__(self, plan: Plan, estimate: Estimate, todo: Collection[str], *, seeds: int, workers: int) -> None:
        """Add up the stages of a plan.

        Args:
            plan: of the run.
            estimate: says what each stage takes.
            todo: keys of the stages that a run would make.
            seeds: how many the plan has.
            workers: how many stages run at a time.
        """
        self._seeds, self._workers = seeds, workers
        self._shared, self._training = _Part(), _Part()
        self._answers: dict[str, _Part] = defaultdict(_Part)
        self._chain = 0.0
        self.known = True
        """Whether each stage has an estimate: rows may have to be prepared first."""
        trained, answered = _places(plan)
        ends: dict[str, float] = {}
        for stage in plan.stages.values():  # parents stand before their children
            seconds = estimate.seconds(stage)
            if seconds is None:
                self.known = False
                return
            left = stage.key in todo or stage.key in plan.waiting
            begins = max((ends.get(parent.key, 0.0) for parent in stage.parents.values()), default=0.0)
            ends[stage.key] = begins + (seconds if left else 0.0)
            if stage.key in answered:
                self._answers[answered[stage.key]] = self._answers[answered[stage.key]].with_more(seconds, left=left)
            elif stage.key in trained:
                self._training = self._training.with_more(seconds, left=left)
            else:  # data, models, what scores, and trials, which have seeds of their own
                self._shared = self._shared.with_more(seconds, left=left)
        self._chain = max(ends.values(), default=0.0)

    def of(self, dataset: str = "", *, seeds: int | None = None, more_prompts: float = 1.0) -> Cost | None:
        """Return what is left of the run with so many seeds, and a data set with so many times its prompts.

        Each further seed costs what one of the plan does. Answers to other prompts are other stages: none of those that
        are there counts for them. None while a stage has no estimate.
        """
        if not self.known:
            return None
        further = max(0, (seeds or self._seeds) - self._seeds)
        ratio = 1 + further / self._seeds
        work = self._shared.left + self._training.left + (ratio - 1) * self._training.whole
        for name, part in self._answers.items():
            if name == dataset and not math.isclose(more_prompts, 1.0):
                work += ratio * more_prompts * part.whole
            else:
                work += part.left + (ratio - 1) * part.whole
        return Cost(work, max(work / self._workers, min(self._chain, work)))


def _places(plan: Plan) -> tuple[set[str], dict[str, str]]:
    """Return the keys of training that a seed has of its own, and of what is done with a data set for its rows."""
    trained: set[str] = set()
    answered: dict[str, str] = {}

    def train(stage: Stage) -> None:
        own = stage.kind != "prepare" or isinstance(stage.config, NewModelConfig)  # each seed draws its weights
        if own and stage.key not in trained:
            trained.add(stage.key)
            for parent in stage.parents.values():
                train(parent)

    for row in plan.rows:
        for stage in (*row.chain, row.checkpoint):
            train(stage)
        for cell in row.cells:
            for stage in (cell.generate, *cell.scores.values()):
                answered[stage.key] = cell.dataset
    return trained, answered
