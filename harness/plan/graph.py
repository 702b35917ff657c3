"""Stages and their identity.

A stage has two names. Its *key* says what it is asked to do (settings and the keys of its parents); it is always known.
Its *id* says what it will do it to: where a parent's content matters and not the way to it (the rows of a data set, the
weights of a model), the content's digest takes the parent's place. Until that content is prepared the id is unknown.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.store.combined import combined
from harness.store.identity import digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from harness.spec.benchmark import MethodEntry
    from harness.spec.budget import BudgetPoint
    from harness.spec.results.run import RowKind
    from harness.spec.runtime import Runtime
    from harness.spec.stages.base import StageFamily
    from harness.spec.stages.kinds import AnyStageConfig
    from harness.store.damage import Damage


@dataclass(frozen=True)
class Stage:
    """One unit of work."""

    label: str
    """For people; part of no id."""
    config: AnyStageConfig
    """Everything that can change the result, parents aside."""
    parents: Mapping[str, Stage]
    runtime: Runtime
    """How to do the work: paths, device, micro-batches. Part of no id."""
    key: str
    id: str | None
    content: str | None
    """The digest that stands for this stage in its children's ids; the id itself unless content is what counts."""
    done: bool
    held: bool = False
    """Whether it waits for a choice among trials, which may change what is asked of it."""

    @property
    def kind(self) -> StageFamily:
        """Where the store keeps it."""
        return self.config.family

    @property
    def short(self) -> str:
        """The first characters of the id, ``?`` while it is unknown."""
        return self.id[:12] if self.id else "?"


def config_digest(config: AnyStageConfig) -> str:
    """Return the sha256 of all that a stage's configuration says."""
    return digest(config.to_json())


def stage_key(config: str, parents: Mapping[str, Stage], among: Sequence[Sequence[str]] = ()) -> str:
    """Return the name of a request: the digest of its configuration, and what was asked of the parents.

    ``among`` are the keys of the chains that the request is still to be chosen from.
    """
    keys = {name: parent.key for name, parent in parents.items()}
    return combined(config, keys | ({"chosen among": digest(among)} if among else {}))


def stage_id(config: str, parents: Mapping[str, Stage]) -> str | None:
    """Return the sha256 of a configuration's digest and parents' contents; None while a parent's content is unknown."""
    contents = {name: parent.content for name, parent in parents.items() if parent.content is not None}
    return combined(config, contents) if len(contents) == len(parents) else None


@dataclass(frozen=True)
class Cell:
    """One row's answers on one data set under one decoding, and their scores."""

    dataset: str
    decoding: str
    generate: Stage
    scores: Mapping[str, Stage]
    """By the metric's name."""


@dataclass(frozen=True)
class Row:
    """One row of the tables for one seed."""

    label: str
    kind: RowKind
    method: str | None
    model: str
    seed: int
    chain: tuple[Stage, ...]
    """The training stages, the shared ones first; empty for the base model."""
    checkpoint: Stage
    cells: tuple[Cell, ...]
    of: str | None = None
    """Of a row of kind ``point``: the label of the row whose training it lies within."""
    at: BudgetPoint | None = None
    """And where that is."""


@dataclass(frozen=True)
class RewardStages:
    """The stages of the reward model of one entry of ``models``."""

    model: Stage
    """Its weights: a ``train`` stage, or the ``prepare`` stage of a model that exists."""
    statistics: Stage
    """What normalises its scores, and its scores of the held-out pairs."""
    rows: Stage | None
    """The pairs it learns from; None where it exists."""
    pairs: Stage | None
    """The held-out pairs."""

    @property
    def parents(self) -> dict[str, Stage]:
        """Return what a stage that uses the reward model has among its parents."""
        return {"reward_model": self.model, "reward_statistics": self.statistics}


@dataclass(frozen=True)
class Trial:
    """One configuration of a row, tried on the validation rows."""

    settings: Mapping[str, Any]
    entry: MethodEntry
    scores: tuple[Stage, ...]
    """One a seed."""
    score: float | None
    """The mean over the seeds; None before all are scored, or where one has failed or has no value."""
    over: bool
    """Whether nothing more will come of it: it is scored, or has failed."""


@dataclass(frozen=True)
class Tuned:
    """The trials of one row of one model."""

    trials: tuple[Trial, ...]
    chosen: int | None
    """Which trial the row goes on with; None until all are over, and where every one has failed."""

    @property
    def over(self) -> bool:
        """Whether the choice is made, or cannot be made any more."""
        return all(trial.over for trial in self.trials)

    @property
    def settings(self) -> Mapping[str, Any] | None:
        """The chosen settings."""
        return None if self.chosen is None else self.trials[self.chosen].settings


@dataclass(frozen=True)
class Plan:
    """Every stage of a benchmark, parents before children."""

    stages: Mapping[str, Stage]
    """By key."""
    rows: tuple[Row, ...]
    train: Stage
    """The rows that are trained on."""
    validation: Stage | None
    evaluations: Mapping[str, Stage]
    """The rows of each evaluation, by its label."""
    scorers: Mapping[str, Stage] = field(default_factory=dict)
    """The fixed scoring model of each model label."""
    reward_models: Mapping[str, RewardStages] = field(default_factory=dict)
    """The reward model of each model label."""
    preferences: tuple[Stage, ...] = ()
    """The rows that must have a chosen and a rejected answer."""
    row_counts: Mapping[str, int] = field(default_factory=dict)
    """Rows of each prepared split, by the stage's key."""
    tuned: Mapping[tuple[str, str], Tuned] = field(default_factory=dict)
    """The trials of the rows that have some, by model and label."""
    damaged: Mapping[str, Damage] = field(default_factory=dict)
    """What is wrong with the stages that the store has and that are not done for that reason, by key."""

    @property
    def settled(self) -> bool:
        """Whether every id is known."""
        return all(stage.id is not None for stage in self.stages.values())

    @functools.cached_property
    def waiting(self) -> frozenset[str]:
        """Keys of the stages that wait for a choice among trials, by themselves or through a parent."""
        waiting: set[str] = set()
        for stage in self.stages.values():  # parents stand before their children
            if stage.held or any(parent.key in waiting for parent in stage.parents.values()):
                waiting.add(stage.key)
        return frozenset(waiting)

    def todo(self) -> Iterator[Stage]:
        """Return the stages that have no result yet."""
        return (stage for stage in self.stages.values() if not stage.done)
