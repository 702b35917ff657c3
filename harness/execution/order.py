"""In which order the stages of a plan are made."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.plan import Plan, Stage

_TRAINING = frozenset({"train", "precompute"})


class Order:
    """What goes first of the stages that are ready.

    Data and models; then training that other training starts from, so that all workers have something to do; then what
    is left to do with models that are trained, so that rows are seen early and their weights need not be kept; then
    other training.
    """

    def __init__(self, plan: Plan) -> None:
        """Look which training other training waits for."""
        self._awaited = {
            parent.key for stage in plan.stages.values() if stage.kind in _TRAINING for parent in stage.parents.values()
        }

    def __call__(self, stage: Stage) -> int:
        """Return a number: the lower, the sooner."""
        if stage.kind == "prepare":
            return 0
        if stage.kind in _TRAINING:
            return 1 if stage.key in self._awaited else 4
        return 2 if stage.kind == "score" else 3
