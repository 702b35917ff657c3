"""How tuning stays within the plan: trials are stages, and a choice is read from what they left in the store.

Until all trials of a row are scored, what follows from the choice is *held*: it stands in the plan, with a key and
without an id, and nothing makes it. A plan that is built afterwards has the row with the chosen settings, as if the
file had named them; so the stages of the trial that was chosen are the row's own.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from harness.benchmark.sweep import within
from harness.plan import cells
from harness.plan.cells import cell_of
from harness.plan.graph import Stage, stage_key
from harness.spec.benchmark import Recipe
from harness.store import CorruptError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from harness.api.registration import MetricRegistration
    from harness.plugins import Registry
    from harness.spec.benchmark import MethodEntry, Model
    from harness.store import Damage, Store


class Builder(cells.Builder, Protocol):
    """What is being planned: see :mod:`harness.plan.build`."""

    store: Store
    stages: dict[str, Stage]
    failed: Collection[str]

    def chain(self, model: Model, entry: MethodEntry, seed: int) -> tuple[Stage, ...]:
        """Return the training stages of a row for one seed."""

    def spoilt(self, stage: Stage, damage: Damage) -> Stage:
        """Take back that a stage without children is done."""


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


def try_out(builder: Builder, model: Model, entry: MethodEntry, scorer: Stage) -> Tuned:
    """Add the stages of a row's trials, and choose where the store has all their scores."""
    benchmark = builder.benchmark
    tune, validation = benchmark.tune, benchmark.validation
    assert tune is not None
    assert validation is not None  # checked with the file
    name, _, column = tune.metric.partition(".")
    use = next(use for use in benchmark.metrics if use.use == name)
    decoding = next(iter(benchmark.decoding))
    trials = []
    for settings in entry.trials:
        tried = configured(entry, settings, builder.registry)
        scores, values = [], []
        for seed in tune.seeds:
            checkpoint = builder.chain(model, tried, seed)[-1]
            cell = cell_of(builder, model, tried.label, seed, validation, decoding, checkpoint, scorer, (use,))
            stage, value = _value(builder, cell.scores[name], column)
            scores.append(stage)
            values.append(value)
        score = math.fsum(v for v in values if v is not None) / len(values) if None not in values else None
        over = all(stage.done or stage.key in builder.failed for stage in scores)
        trials.append(Trial(settings, tried, tuple(scores), score, over))
    registration: Any = builder.registry.get("metric", name)
    higher = higher_is_better(registration.resolved(builder.registry.options("metric", name, use.options)), column)
    chosen = best(trials, higher=higher) if all(trial.over for trial in trials) else None
    return Tuned(tuple(trials), chosen)


def configured(entry: MethodEntry, settings: Mapping[str, Any], registry: Registry) -> MethodEntry:
    """Return a row's entry with some settings in place of its own, under a label that says them."""
    parts: dict[str, dict[str, Any]] = {"": {}, "recipe": {}, "reward_weights": {}}
    for name, value in settings.items():
        above, below = within(name)
        parts[above][below] = value
    options = registry.options("method", entry.use, {**entry.options, **parts[""]}).model_dump(mode="json")
    recipe = Recipe.model_validate({**entry.recipe.model_dump(), **parts["recipe"]})
    said = ",".join(f"{name}={value}" for name, value in settings.items())
    return entry.model_copy(
        update={
            "label": f"{entry.label}[{said}]",
            "options": options,
            "recipe": recipe,
            "reward_weights": {**entry.reward_weights, **parts["reward_weights"]},
            "trials": (),
        }
    )


def higher_is_better(registration: MetricRegistration, column: str) -> bool:
    """Return the direction of a column, which was checked to have one."""
    every = (*registration.columns, *registration.corpus)
    return bool(next(each.higher_is_better for each in every if each.name == column))


def best(trials: Sequence[Trial], *, higher: bool) -> int | None:
    """Return the trial with the best score; of equal ones the one with the smaller values, else the first listed."""
    scored = [(index, trial) for index, trial in enumerate(trials) if trial.score is not None]
    if not scored:
        return None
    top = (max if higher else min)(trial.score for _, trial in scored if trial.score is not None)
    tied = [(index, tuple(trial.settings.values())) for index, trial in scored if trial.score == top]
    numeric = all(isinstance(value, (int, float)) for _, values in tied for value in values)
    return min(tied, key=lambda found: (found[1] if numeric else (), found[0]))[0]


def _value(builder: Builder, stage: Stage, column: str) -> tuple[Stage, float | None]:
    """Return what a score stage says of a column: its mean, or its number for all answers.

    A stage that cannot be read counts as not done, so that nothing is chosen without it.
    """
    record = builder.store.find(stage.kind, stage.id) if stage.id and stage.done else None
    if record is None:
        return stage, None
    try:
        summary = record.json("metrics.json")
    except CorruptError as error:
        return builder.spoilt(stage, error.damage), None
    value = summary["columns"].get(column, {}).get("mean", summary["corpus"].get(column))
    return stage, None if value is None else float(value)


def held_chain(builder: Builder, model: Model, entry: MethodEntry, tuned: Tuned, seed: int) -> tuple[Stage, ...]:
    """Return the training stages of a row whose settings are not chosen yet.

    What all its trials would do alike is settled; the rest is held. Trials that nobody asked for leave no stage behind.
    """
    before = dict(builder.stages)
    label = {"label": entry.label}
    chains = [builder.chain(model, trial.entry.model_copy(update=label), seed) for trial in tuned.trials]
    every = builder.stages
    common = set.intersection(*({stage.key for stage in _above(chain)} for chain in chains))
    builder.stages = before
    for key, stage in every.items():
        if key in common:
            builder.stages.setdefault(key, stage)
    keys = [[stage.key for stage in chain] for chain in chains]
    renamed = (f"/{tuned.trials[0].entry.label}/", f"/{entry.label}/")  # the first trial may have named them
    held: dict[str, Stage] = {}
    return tuple(_hold(builder, stage, common, keys, renamed, held) for stage in chains[0])


def _above(stages: Iterable[Stage]) -> Iterable[Stage]:
    for stage in stages:
        yield stage
        yield from _above(stage.parents.values())


def _hold(
    builder: Builder,
    stage: Stage,
    settled: Collection[str],
    among: list[list[str]],
    renamed: tuple[str, str],
    held: dict[str, Stage],
) -> Stage:
    """Return a stage that waits for the choice among some requests, as the first of them would have it."""
    if stage.key in settled:
        return stage
    if stage.key not in held:
        parents = {
            name: _hold(builder, parent, settled, among, renamed, held) for name, parent in stage.parents.items()
        }
        key = stage_key(stage.kind, {**stage.config, "chosen_among": among}, parents)
        label = stage.label.replace(*renamed)
        made = dataclasses.replace(
            stage, label=label, parents=parents, key=key, id=None, content=None, done=False, held=True
        )
        held[stage.key] = builder.stages.setdefault(key, made)
    return held[stage.key]
