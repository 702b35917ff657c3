"""What a training segment is asked to do, and what it is connected to while it does it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from harness.training.distributed import Ranks

if TYPE_CHECKING:
    from pathlib import Path

    from harness.spec.benchmark import Recipe

#: Called with one row of the log. After a resume the rows logged before it come again, so that a log is always whole.
Log: TypeAlias = Callable[[Mapping[str, Any]], None]
#: Called with (steps done, steps of the segment, steps a second).
Tell: TypeAlias = Callable[[int, int, float], None]


@dataclass(frozen=True)
class TrainingPlan:
    """What a segment does."""

    method: str
    """The method's name; also the name of the share of a method that applies noise instead of a loss."""
    recipe: Recipe
    seed: int
    first: Mapping[str, Any]
    """Position of the first step, counted over the whole schedule (see :mod:`harness.training.schedule`)."""
    last: Mapping[str, Any]
    """The segment ends before this position."""
    curve: Mapping[str, Any]
    """The learning rate: see :meth:`harness.training.schedule.Curve.from_config`."""
    previous: Path | None = None
    """The folder of the training stage that this one goes on from; None starts the optimiser afresh."""
    dropped: int = 0
    """Training rows that were left out for their length; for the summary."""
    identity: str = ""
    """The stage's id: an unfinished state of another stage is never used."""
    environment: Mapping[str, Any] = field(default_factory=dict)
    """The environment's fingerprint: an unfinished state made elsewhere is never used."""
    speaks: bool = True
    """Whether what is trained still gives a distribution over answers, which can be compared with that at the start: a
    reward model does not."""
    concurrent: bool = False
    """Whether other stages ran beside this one; for the timing table."""
    save_every: int = 0
    """Steps between two states from which an interrupted segment can go on; 0 for no limit."""
    save_minutes: float = math.inf
    """Minutes after which there is another such state, at the next step that ends."""


@dataclass(frozen=True)
class Surroundings:
    """What a segment is connected to. None of it changes a result."""

    log: Log
    tell: Tell = lambda _done, _total, _rate: None
    ranks: Ranks = field(default_factory=Ranks)
    unfinished: Path | None = None
    """Folder for the states of this segment."""
    stop: Callable[[], int] = lambda: 0
    """Asked after each step: the number of the signal that wants an end, or 0."""
    keep: Callable[[], bool] = lambda: False
    """Asked after each step: whether the state is to be kept before the next."""
    note: Callable[[str], None] = lambda _text: None
    """Takes a sentence that the user should see."""
