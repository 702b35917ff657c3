"""The course that a training took, as far as its records tell it from another one's."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from harness.spec.results.train import TrainStep, TrainSummary
from harness.spec.stages.train import TrainConfig

if TYPE_CHECKING:
    from harness.store.records import Record


class Course(NamedTuple):
    """The stage in which a row's own method trained with one seed: a number or a digest a step."""

    rows: tuple[str | None, ...]
    """Of the ids of the step's rows, in their order."""
    samples: tuple[str | None, ...]
    """Of the tokens that the policy drew."""
    noise: tuple[str | None, ...]
    """Of the random numbers that they were drawn with."""
    norms: tuple[float, ...]
    """Of the gradient."""
    rewards: tuple[float | None, ...]
    """Mean over the samples."""
    orders: float
    """Natural logarithm of how many orders of the rows there are."""


def course(record: Record) -> Course:
    """Read the course of a training stage."""
    steps = [
        (step.digests, step.grad_norm, None if step.reward is None else step.reward.mean)
        for step in record.lines(TrainStep)
    ]
    digests = [step[0] for step in steps]
    batch = record.read(TrainConfig).recipe.batch_size
    return Course(
        tuple(None if each is None else each.rows for each in digests),
        tuple(None if each is None else each.samples for each in digests),
        tuple(None if each is None else each.noise for each in digests),
        tuple(norm for _, norm, _ in steps),
        tuple(reward for _, _, reward in steps),
        log_orders(record.read(TrainSummary).rows.used, batch, len(steps)),
    )


def log_orders(rows: int, batch: int, steps: int) -> float:
    """Return the natural logarithm of the number of orders in which steps can take ``batch`` of ``rows`` rows each.

    An epoch takes whole batches, and none of its rows twice.
    """
    if rows < batch:
        return 0.0
    epochs, rest = divmod(steps, rows // batch)
    return epochs * _log_arrangements(rows, rows // batch * batch) + _log_arrangements(rows, rest * batch)


def _log_arrangements(rows: int, places: int) -> float:
    return math.lgamma(rows + 1) - math.lgamma(rows - places + 1)


class Weights(NamedTuple):
    """The weights that a row ended with."""

    sha256: str
    end: tuple[float, ...] | None
    """Sums over the trained weights; see :func:`harness.training.weights.sums`."""
    start: tuple[float, ...] | None
    """The same before the row's last stage."""

    @classmethod
    def of(cls, record: Record) -> Weights:
        """Read what a row's last training stage says of them."""
        summary = record.read(TrainSummary)
        return cls(summary.weights_sha256, summary.weights_sums, summary.start_sums)

    def apart(self, other: Weights) -> float:
        """Return how far apart two are, in units of how far the stage moved either, whichever is less.

        About, for 16 sums stand for all weights; infinite where that is not known.
        """
        if self.sha256 == other.sha256:
            return 0.0
        if self.end is None or other.end is None or self.start is None or other.start is None:
            return math.inf
        moved = min(math.dist(self.end, self.start), math.dist(other.end, other.start))
        return math.dist(self.end, other.end) / moved if moved else math.inf
