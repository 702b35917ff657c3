"""The stages of a reward model: training it, and what its scores are normalised by.

It is one for each entry of ``models``, whatever the rows and seeds, so that all rows are held to the same measure.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from harness.lm.model.folders import check_one_label
from harness.plan.graph import RewardStages, Stage, result_settings, stage_id
from harness.stages.models import model_identity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.plan.graph import StageKind
    from harness.plugins import Registry
    from harness.spec.benchmark import Benchmark, DataUse, Model, RewardModel

#: Settings of a recipe that reach the stage by the learning-rate curve, or mean nothing for a reward model.
_ELSEWHERE = (
    "epochs", "method_epochs", "method_schedule", "learning_rate", "method_learning_rate", "min_learning_rate",
    "schedule", "restart_schedule", "warmup_steps", "generate_length", "train_eos",
)  # fmt: skip


class Builder(Protocol):
    """What plans the rest: see :mod:`harness.plan.build`."""

    benchmark: Benchmark
    registry: Registry
    preferences: list[Stage]

    def data(self, use: DataUse) -> Stage:
        """Return the stage of a data set's rows."""

    def model(self, model: Model, seed: int) -> Stage:
        """Return the stage of an untrained checkpoint."""

    def add(
        self,
        kind: StageKind,
        label: str,
        config: dict[str, Any],
        parents: Mapping[str, Stage],
        runtime: Mapping[str, Any] | None = None,
        *,
        content: str | None = None,
        content_of: str | None = None,
    ) -> Stage:
        """Add a stage once."""


def reward_settings(benchmark: Benchmark, model: Model) -> dict[str, Any]:
    """Return how a stage of ``model`` computes with its reward model."""
    section = benchmark.reward_model
    assert section is not None
    spec = section.model or model
    longest = section.recipe.max_prompt_length if section.use else None
    return {"dtype": spec.dtype, "attention": spec.attention, "max_prompt_length": longest}


def reward_stages(builder: Builder, model: Model, supervised: Stage) -> RewardStages:
    """Add the stages of the reward model of ``model``; ``supervised`` is the first seed's supervised checkpoint."""
    benchmark, section = builder.benchmark, builder.benchmark.reward_model
    assert section is not None
    rows = builder.data(section.train) if section.use and section.train is not None else None
    if section.model is not None:
        weights = _existing(builder, section.model)
    else:
        assert rows is not None
        start = supervised if section.start == "supervised" else builder.model(model, benchmark.seeds[0])
        weights = _trained(builder, section, model, rows, start)
    pairs = builder.data(section.test) if section.test is not None else None
    builder.preferences.extend(stage for stage in (rows, pairs) if stage is not None)
    config = {
        "what": "reward-model",
        "normalise": section.normalise,
        "template": result_settings(benchmark.template),
        "reward_model": reward_settings(benchmark, model),
    }
    parents = {"reward_model": weights, "rows": builder.data(benchmark.train)}
    held_out = {} if pairs is None else {"pairs": pairs}
    label = f"{model.label or model.name}/reward model/scores"
    # the scores of the held-out pairs are for a table: what is trained with the reward model does not depend on them
    content = stage_id("precompute", config, parents)
    statistics = builder.add("precompute", label, config, {**parents, **held_out}, content=content)
    return RewardStages(weights, statistics, rows, pairs)


def _trained(builder: Builder, section: RewardModel, model: Model, rows: Stage, start: Stage) -> Stage:
    recipe, name = section.recipe, section.use or ""
    first, last = {"epoch": 0}, {"epoch": recipe.epochs}
    config: dict[str, Any] = {
        "method": name,
        "options": section.options,
        "plugin": builder.registry.fingerprint("method", name),
        "trains": "reward_model",
        "recipe": result_settings(recipe, leave_out=_ELSEWHERE),
        "first": first,
        "last": last,
        "curve": {
            "kind": recipe.schedule,
            "peak": recipe.learning_rate,
            "floor": recipe.min_learning_rate,
            "warmup_steps": recipe.warmup_steps,
            "first": first,
            "last": last,
        },
        "fresh_optimizer": True,
        "seed": builder.benchmark.seeds[0],
        "template": result_settings(builder.benchmark.template),
        "model": {"dtype": model.dtype, "attention": model.attention},
    }
    runtime = {
        "tokens_per_micro_batch": recipe.tokens_per_micro_batch,
        "gradient_checkpointing": recipe.gradient_checkpointing,
    }
    label = f"{model.label or model.name}/reward model/epochs 0-{recipe.epochs}"
    return builder.add("train", label, config, {"rows": rows, "start": start}, runtime)


def _existing(builder: Builder, model: Model) -> Stage:
    """Return the stage that finds a classifier and sees that it is usable."""
    where = f"reward model {model.name}"
    identity = model_identity(model, model.path)
    if model.path is not None:
        check_one_label(Path(model.path).expanduser(), where=f"{where} ({model.path})")
    config = {"what": "classifier", **identity, "dtype": model.dtype, "attention": model.attention}
    runtime = {"path": model.path, "name": model.name}
    label = f"{model.label or model.name} (reward model)"
    if "files" in identity:
        return builder.add("prepare", label, config, {}, runtime, content=identity["files"])
    return builder.add("prepare", label, config, {}, runtime, content_of="model.json")
