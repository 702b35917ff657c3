"""The cells of the tables: the answers of a checkpoint to a data set under a decoding, and what metrics say of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import InputError
from harness.plan.graph import Cell, Row, Stage
from harness.plan.reward_stages import reward_model_use
from harness.plugins.runtime_options import split_options
from harness.spec.stages.base import Asking, Loading
from harness.spec.stages.existing_model import ModelConfig
from harness.spec.stages.generate import GenerateConfig
from harness.spec.stages.new_model import NewModelConfig
from harness.spec.stages.score import ModelScoreConfig, ScoreConfig
from harness.spec.stages.train import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.plan.planner import Planner
    from harness.spec.benchmark import DataUse, MethodEntry, MetricUse
    from harness.spec.budget import BudgetPoint
    from harness.spec.model import Model
    from harness.spec.results.run import RowKind
    from harness.spec.runtime import Runtime
    from harness.spec.stages.kinds import AnyStageConfig


@dataclass(frozen=True)
class Answerer:
    """Who answers: one seed of a row."""

    model: Model
    label: str
    """The row's."""
    seed: int
    checkpoint: Stage
    scorer: Stage
    """The fixed model under which the likelihood of answers is measured."""
    at: BudgetPoint | None = None
    """The point of the checkpoint's budget; its end where None."""


def data_label(use: DataUse) -> str:
    """Return what tables call a data use."""
    return use.label or use.dataset


def row_of(
    planner: Planner,
    answerer: Answerer,
    entry: MethodEntry | None,
    kind: RowKind,
    chain: tuple[Stage, ...],
    *,
    of: str | None = None,
) -> Row:
    """Return one seed of a row: ``entry``, or the untrained model, with a cell for each data set and decoding.

    ``of`` is the label of the row within whose budget this one is a point.
    """
    benchmark = planner.benchmark
    cells = tuple(
        cell_of(planner, answerer, use, decoding) for use in benchmark.evaluate for decoding in benchmark.decoding
    )
    method, model = entry.use if entry else None, answerer.model.shown
    return Row(answerer.label, kind, method, model, answerer.seed, chain, answerer.checkpoint, cells, of, answerer.at)


def cell_of(
    planner: Planner, answerer: Answerer, use: DataUse, decoding: str, metrics: Sequence[MetricUse] | None = None
) -> Cell:
    """Return the answers of a checkpoint and their scores, by all the file's metrics unless some are named."""
    answers = _answers(planner, answerer, use, decoding)
    return Cell(data_label(use), decoding, answers, scores_of(planner, answerer, use, decoding, answers, metrics))


def scores_of(
    planner: Planner,
    answerer: Answerer,
    use: DataUse,
    decoding: str,
    answers: Stage,
    metrics: Sequence[MetricUse] | None = None,
) -> dict[str, Stage]:
    """Return the scores of answers by metric; those that ask who answered are left out where that is not known."""
    benchmark = planner.benchmark
    scores = {}
    for metric in benchmark.metrics if metrics is None else metrics:
        registration = planner.metric(metric)
        if benchmark.decoding[decoding].draws < registration.draws:
            continue  # it is of several draws together
        asks = registration.needs or registration.role == "judge"
        if asks and decoding != next(iter(benchmark.decoding)):
            continue  # what asks a model costs as much as the answers; the tables show it under the first decoding
        if "policy" in registration.needs and "checkpoint" not in answers.parents:
            continue  # texts from elsewhere
        parents = {"samples": answers, "rows": answers.parents["rows"]}
        for label in registration.opponents:
            parents[f"opponent:{label}"] = _answers(planner, _opponent(planner, answerer, label), use, decoding)
        for label in registration.models_of:
            parents[f"model:{label}"] = _opponent(planner, answerer, label).checkpoint
        if "policy" in registration.needs:
            parents["policy"] = answerer.checkpoint
        if "scorer" in registration.needs:
            parents["scorer"] = answerer.scorer
        if "reward_model" in registration.needs:
            parents |= planner.reward_models[answerer.model.shown].parents
        scores[metric.use] = _score(planner, metric, answerer, use, parents)
    return scores


def _answers(planner: Planner, answerer: Answerer, use: DataUse, decoding: str) -> Stage:
    model, seed = answerer.model, answerer.seed
    place = (model.shown, use.overlong, decoding, seed, answerer.at)
    if place not in planner.answered:
        planner.answered[place] = GenerateConfig(
            asking=_asking(planner, model, use),
            at=answerer.at,
            decoding=planner.benchmark.decoding[decoding],
            seed=seed,
        )
    label = f"{model.shown}/{answerer.label}/seed {seed}/{data_label(use)}/{decoding}"
    return planner.add(label, planner.answered[place], {"checkpoint": answerer.checkpoint, "rows": planner.data(use)})


def _asking(planner: Planner, model: Model, use: DataUse) -> Asking:
    """Return how a model is asked."""
    return Asking(
        template=planner.benchmark.template,
        max_prompt_length=planner.benchmark.recipe.max_prompt_length,
        overlong=use.overlong,
        loading=Loading.of(model),
    )


def _opponent(planner: Planner, answerer: Answerer, label: str) -> Answerer:
    """Return the same seed of another row, whose answers a metric compares with."""
    checkpoint = planner.checkpoints.get((answerer.model.shown, label, answerer.seed))
    if checkpoint is None:  # said by the checks of the file, unless its plugins changed meanwhile
        raise InputError(f"a metric compares with the row {label!r}, and there is none", where="metrics")
    return Answerer(answerer.model, label, answerer.seed, checkpoint, answerer.scorer)


def _score(planner: Planner, use: MetricUse, answerer: Answerer, data: DataUse, parents: dict[str, Stage]) -> Stage:
    place = (answerer.model.shown, data.overlong, use.use, answerer.at)
    if place not in planner.scored:
        planner.scored[place] = _scoring(planner, use, answerer, data)
    config, runtime = planner.scored[place]
    return planner.add(f"{parents['samples'].label}/{use.use}", config, parents, runtime)


def _scoring(planner: Planner, use: MetricUse, answerer: Answerer, data: DataUse) -> tuple[AnyStageConfig, Runtime]:
    """Return how a metric reads the answers of a model to a data set."""
    model = answerer.model
    options, needs = planner.registry.options("metric", use.use, use.options), planner.metric(use).needs
    chosen, ignored = split_options(options)
    metric, runtime = planner.plugin("metric", use.use, chosen), planner.runtime(options=ignored)
    if not needs:
        return ScoreConfig(metric=metric), runtime
    model = answerer.model
    config = ModelScoreConfig(
        metric=metric,
        asking=_asking(planner, model, data),
        at=answerer.at if "policy" in needs else None,
        scorer=_loading(answerer.scorer) if "scorer" in needs else None,
        reward_model=reward_model_use(planner.benchmark, model) if "reward_model" in needs else None,
    )
    return config, runtime


def _loading(stage: Stage) -> Loading | None:
    """Return how the model is loaded that a checkpoint is of."""
    while isinstance(stage.config, TrainConfig):
        stage = stage.parents["start"]
    return stage.config.loading if isinstance(stage.config, (ModelConfig, NewModelConfig)) else None
