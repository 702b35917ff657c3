"""The stages of a reward model: training it, and what its scores are normalised by.

It is one for each entry of ``models``, whatever the rows and seeds, so that all rows are held to the same measure.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.models.folders import check_one_label
from harness.plan.graph import RewardStages, Stage, config_digest, stage_id
from harness.spec.schedule import Curve, Position
from harness.spec.stages.base import Loading, RewardModelUse
from harness.spec.stages.existing_model import ClassifierConfig, FolderSource, HubSource
from harness.spec.stages.reward_statistics import RewardStatisticsConfig
from harness.spec.stages.train import TrainConfig
from harness.stages.entries import code_digest
from harness.stages.models import folder_source

if TYPE_CHECKING:
    from harness.plan.planner import Planner
    from harness.spec.benchmark import Benchmark, RewardModel
    from harness.spec.model import Model


def reward_model_use(benchmark: Benchmark, model: Model) -> RewardModelUse:
    """Return how a stage of ``model`` computes with its reward model."""
    section = benchmark.reward_model
    assert section is not None
    longest = section.recipe.max_prompt_length if section.use else None
    return RewardModelUse(
        loading=Loading.of(section.model or model), template=benchmark.template, max_prompt_length=longest
    )


def reward_stages(planner: Planner, model: Model, supervised: Stage) -> RewardStages:
    """Add the stages of the reward model of ``model``; ``supervised`` is the first seed's supervised checkpoint."""
    benchmark, section = planner.benchmark, planner.benchmark.reward_model
    assert section is not None
    rows = planner.data(section.train) if section.use and section.train is not None else None
    if section.model is not None:
        weights = _existing(planner, section.model)
    else:
        assert rows is not None
        start = supervised if section.start == "supervised" else planner.model(model, benchmark.seeds[0])
        weights = _trained(planner, section, model, {"rows": rows, "start": start})
    pairs = planner.data(section.test) if section.test is not None else None
    planner.preferences.extend(stage for stage in (rows, pairs) if stage is not None)
    config = RewardStatisticsConfig(normalise=section.normalise, reward_model=reward_model_use(benchmark, model))
    parents = {"reward_model": weights, "rows": planner.data(benchmark.train)}
    held_out = {} if pairs is None else {"pairs": pairs}
    label = f"{model.shown}/reward model/scores"
    # the scores of the held-out pairs are for a table: what is trained with the reward model does not depend on them
    content = stage_id(config_digest(config.model_copy(update={"code": code_digest(config.kind)})), parents)
    statistics = planner.add(label, config, {**parents, **held_out}, content=content)
    return RewardStages(weights, statistics, rows, pairs)


def _trained(planner: Planner, section: RewardModel, model: Model, parents: dict[str, Stage]) -> Stage:
    recipe, name = section.recipe, section.use or ""
    first, last = Position(epochs=0), Position(epochs=recipe.epochs)
    config = TrainConfig(
        method=planner.plugin("method", name, section.options),
        trains="reward_model",
        recipe=recipe.step_settings.model_copy(update={"train_eos": True}),
        sampling=None,
        first=first,
        last=last,
        curve=Curve(
            kind=recipe.schedule,
            peak=recipe.learning_rate,
            floor=recipe.min_learning_rate,
            warmup_steps=recipe.warmup_steps,
            first=first,
            last=last,
        ),
        fresh_optimizer=True,
        seed=planner.benchmark.seeds[0],
        template=planner.benchmark.template,
        loading=Loading.of(model),
    )
    runtime = planner.runtime(
        tokens_per_micro_batch=recipe.tokens_per_micro_batch, gradient_checkpointing=recipe.gradient_checkpointing
    )
    label = f"{model.shown}/reward model/epochs 0-{recipe.epochs}"
    return planner.add(label, config, parents, runtime)


def _existing(planner: Planner, model: Model) -> Stage:
    """Return the stage that finds a classifier and sees that it is usable."""
    where = f"reward model {model.name}"
    source: HubSource | FolderSource = HubSource(name=model.name, revision=model.revision)
    if model.path is not None:
        source = folder_source(model, model.path)
        check_one_label(Path(model.path).expanduser(), where=f"{where} ({model.path})")
    config = ClassifierConfig(source=source, loading=Loading.of(model), chat=planner.benchmark.chat)
    return planner.existing(f"{model.shown} (reward model)", config, planner.runtime(path=model.path, name=model.name))
