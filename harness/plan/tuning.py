"""How tuning stays within the plan: trials are stages, and a choice is read from what they left in the store.

Until all trials of a row are scored, what follows from the choice is *held*: it stands in the plan, with a key and
without an id, and nothing makes it. A plan that is built afterwards has the row with the chosen settings, as if the
file had named them; so the stages of the trial that was chosen are the row's own.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from harness.benchmark.sweep import within
from harness.plan.cells import Answerer, cell_of
from harness.plan.chains import chain_of
from harness.plan.graph import Stage, Trial, Tuned, config_digest, stage_key
from harness.plugins.option_groups import overlaid
from harness.spec.recipe import Recipe
from harness.spec.results.score import ScoreSummary
from harness.store.damage import CorruptError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from harness.api.registration import MetricRegistration
    from harness.plan.planner import Planner
    from harness.plugins.registry import Registry
    from harness.spec.benchmark import MethodEntry
    from harness.spec.model import Model


def try_out(planner: Planner, model: Model, entry: MethodEntry, scorer: Stage) -> Tuned:
    """Add the stages of a row's trials, and choose where the store has all their scores."""
    benchmark = planner.benchmark
    tune, validation = benchmark.tune, benchmark.validation
    assert tune is not None
    assert validation is not None  # checked with the file
    name, _, column = tune.metric.partition(".")
    use = next(use for use in benchmark.metrics if use.use == name)
    decoding = next(iter(benchmark.decoding))
    trials = []
    for settings in entry.trials:
        tried = configured(entry, settings, planner.registry)
        scores, values = [], []
        for seed in tune.seeds:
            checkpoint = chain_of(planner, model, tried, seed)[-1]
            answerer = Answerer(model, tried.label, seed, checkpoint, scorer)
            cell = cell_of(planner, answerer, validation, decoding, (use,))
            stage, value = _value(planner, cell.scores[name], column)
            scores.append(stage)
            values.append(value)
        score = math.fsum(v for v in values if v is not None) / len(values) if None not in values else None
        over = all(stage.done or stage.key in planner.failed for stage in scores)
        trials.append(Trial(settings, tried, tuple(scores), score, over))
    registration: Any = planner.registry.get("metric", name)
    higher = higher_is_better(registration.resolved(planner.registry.options("metric", name, use.options)), column)
    chosen = best(trials, higher=higher) if all(trial.over for trial in trials) else None
    return Tuned(tuple(trials), chosen)


def configured(entry: MethodEntry, settings: Mapping[str, Any], registry: Registry) -> MethodEntry:
    """Return a row's entry with some settings in place of its own, under a label that says them."""
    parts: dict[str, dict[str, Any]] = {"recipe": {}, "reward_weights": {}}
    layers: list[Mapping[str, Any]] = [entry.options]
    for name, value in settings.items():
        above, below = within(name)
        if above in parts:
            parts[above][below] = value
        else:
            layers.append({above: {below: value}} if above else {below: value})
    raw = overlaid(registry.get("method", entry.use).options, layers)
    options = registry.options("method", entry.use, raw).model_dump(mode="json")
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
    columns = (*registration.columns, *registration.corpus)
    return bool(next(one.higher_is_better for one in columns if one.name == column))


def best(trials: Sequence[Trial], *, higher: bool) -> int | None:
    """Return the trial with the best score; of equal ones the one with the smaller values, else the first listed."""
    scored = [(index, trial) for index, trial in enumerate(trials) if trial.score is not None]
    if not scored:
        return None
    top = (max if higher else min)(trial.score for _, trial in scored if trial.score is not None)
    tied = [(index, tuple(trial.settings.values())) for index, trial in scored if trial.score == top]
    numeric = all(isinstance(value, (int, float)) for _, values in tied for value in values)
    return min(tied, key=lambda found: (found[1] if numeric else (), found[0]))[0]


def _value(planner: Planner, stage: Stage, column: str) -> tuple[Stage, float | None]:
    """Return what a score stage says of a column: its mean, or its number for all answers.

    A stage that cannot be read counts as not done, so that nothing is chosen without it.
    """
    record = planner.store.find(stage.kind, stage.id) if stage.id and stage.done else None
    if record is None:
        return stage, None
    try:
        return stage, record.read(ScoreSummary).of(column)
    except CorruptError as error:
        return planner.spoilt(stage, error.damage), None


def held_chain(planner: Planner, model: Model, entry: MethodEntry, tuned: Tuned, seed: int) -> tuple[Stage, ...]:
    """Return the training stages of a row whose settings are not chosen yet.

    What all its trials would do alike is settled; the rest is held. Trials that nobody asked for leave no stage behind.
    """
    before = dict(planner.stages)
    label = {"label": entry.label}
    chains = [chain_of(planner, model, trial.entry.model_copy(update=label), seed) for trial in tuned.trials]
    with_trials = planner.stages
    common = set.intersection(*({stage.key for stage in _above(chain)} for chain in chains))
    planner.stages = before
    for key, stage in with_trials.items():
        if key in common:
            planner.stages.setdefault(key, stage)
    keys = [[stage.key for stage in chain] for chain in chains]
    held: dict[str, Stage] = {}
    row = f"{model.shown}/{entry.label}"
    return tuple(_hold(planner, stage, common, keys, row, held) for stage in chains[0])


def _above(stages: Iterable[Stage]) -> Iterable[Stage]:
    for stage in stages:
        yield stage
        yield from _above(stage.parents.values())


def _hold(
    planner: Planner,
    stage: Stage,
    settled: Collection[str],
    among: list[list[str]],
    row: str,
    held: dict[str, Stage],
) -> Stage:
    """Return a stage of a row that waits for the choice among some requests, as the first of them would have it."""
    if stage.key in settled:
        return stage
    if stage.key not in held:
        parents = {name: _hold(planner, parent, settled, among, row, held) for name, parent in stage.parents.items()}
        key = stage_key(config_digest(stage.config), parents, among)
        # the first trial may have named it, or a row that is set as the first trial is
        _, seed, rest = stage.label.partition("/seed ")
        label = f"{row}{seed}{rest}" if seed else stage.label
        waiting = dataclasses.replace(
            stage, label=label, parents=parents, key=key, id=None, content=None, done=False, held=True
        )
        held[stage.key] = planner.stages.setdefault(key, waiting)
    return held[stage.key]
