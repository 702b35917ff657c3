"""The cells of the tables: the answers of a checkpoint to a data set under a decoding, and what metrics say of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from harness.errors import InputError
from harness.plan import reward_model
from harness.plan.graph import Cell, RewardStages, Row, Stage, result_settings
from harness.plan.reward_model import reward_settings
from harness.plugins.runtime_options import split_options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import BaseModel

    from harness.api import MetricRegistration
    from harness.plan.graph import RowKind
    from harness.spec.benchmark import DataUse, MethodEntry, MetricUse, Model


class Builder(reward_model.Builder, Protocol):
    """What plans the rest: see :mod:`harness.plan.build`."""

    checkpoints: dict[tuple[str, str, int], Stage]
    reward_models: dict[str, RewardStages]


def data_label(use: DataUse) -> str:
    """Return what tables call a data use."""
    return use.label or use.dataset


def row_of(
    builder: Builder,
    model: Model,
    seed: int,
    entry: MethodEntry | None,
    kind: RowKind,
    chain: tuple[Stage, ...],
    checkpoint: Stage,
    scorer: Stage,
) -> Row:
    """Return one seed of a row: ``entry``, or the untrained model, with a cell for each data set and decoding."""
    benchmark = builder.benchmark
    label = entry.label if entry else "base"
    cells = tuple(
        cell_of(builder, model, label, seed, use, decoding, checkpoint, scorer)
        for use in benchmark.evaluate
        for decoding in benchmark.decoding
    )
    method = entry.use if entry else None
    return Row(label, kind, method, model.label or model.name, seed, chain, checkpoint, cells)


def cell_of(
    builder: Builder,
    model: Model,
    label: str,
    seed: int,
    use: DataUse,
    decoding: str,
    checkpoint: Stage,
    scorer: Stage,
    metrics: Sequence[MetricUse] | None = None,
) -> Cell:
    """Return the answers of a checkpoint and their scores, by all the file's metrics unless some are named."""
    benchmark, registry = builder.benchmark, builder.registry
    answers = _answers(builder, model, label, seed, use, decoding, checkpoint)
    scores = {}
    for metric in benchmark.metrics if metrics is None else metrics:
        registration: Any = registry.get("metric", metric.use)
        options = registry.options("metric", metric.use, metric.options)
        registration = registration.resolved(options)
        asks = registration.needs or registration.role == "judge"
        if asks and decoding != next(iter(benchmark.decoding)):
            continue  # what asks a model costs as much as the answers; the tables show it under the first decoding
        opponents = {
            f"opponent:{other}": _answers(
                builder, model, other, seed, use, decoding, _checkpoint(builder, model, other, seed)
            )
            for other in registration.opponents
        }
        scores[metric.use] = _score(builder, model, registration, options, use, answers, scorer, opponents)
    return Cell(data_label(use), decoding, answers, scores)


def _answers(
    builder: Builder, model: Model, label: str, seed: int, use: DataUse, decoding: str, checkpoint: Stage
) -> Stage:
    return builder.add(
        "generate",
        f"{model.label or model.name}/{label}/seed {seed}/{data_label(use)}/{decoding}",
        {
            **_asked(builder, model, use),
            "decoding": result_settings(builder.benchmark.decoding[decoding]),
            "seed": seed,
        },
        {"checkpoint": checkpoint, "rows": builder.data(use)},
    )


def _asked(builder: Builder, model: Model, use: DataUse) -> dict[str, Any]:
    """Return how a model is asked."""
    return {
        "template": result_settings(builder.benchmark.template),
        "max_prompt_length": builder.benchmark.recipe.max_prompt_length,
        "overlong": use.overlong,
        "model": {"dtype": model.dtype, "attention": model.attention},
    }


def _checkpoint(builder: Builder, model: Model, label: str, seed: int) -> Stage:
    """Return what the answers of another row come from."""
    found = builder.checkpoints.get((model.label or model.name, label, seed))
    if found is None:  # said by the checks of the file, unless its plugins changed meanwhile
        raise InputError(f"a metric compares with the row {label!r}, and there is none", where="metrics")
    return found


def _score(
    builder: Builder,
    model: Model,
    registration: MetricRegistration,
    options: BaseModel,
    use: DataUse,
    answers: Stage,
    scorer: Stage,
    opponents: Mapping[str, Stage],
) -> Stage:
    chosen, runtime = split_options(options)
    config: dict[str, Any] = {
        "metric": registration.name,
        "options": chosen,
        "plugin": builder.registry.fingerprint("metric", registration.name),
    }
    parents = {"samples": answers, "rows": answers.parents["rows"], **opponents}
    if registration.needs:
        config |= _asked(builder, model, use)
    if "policy" in registration.needs:
        parents["policy"] = answers.parents["checkpoint"]
    if "scorer" in registration.needs:
        parents["scorer"] = scorer
    if "reward_model" in registration.needs:
        config["reward_model"] = reward_settings(builder.benchmark, model)
        parents |= builder.reward_models[model.label or model.name].parents
    label = f"{answers.label}/{registration.name}"
    return builder.add("score", label, config, parents, {"options": runtime} if runtime else {})
