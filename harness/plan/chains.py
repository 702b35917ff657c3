"""The training stages of a row: the shared ones first, then its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.errors import InputError
from harness.models.adapter import check_installed
from harness.plan.reference import reference_parents
from harness.plan.reward_stages import reward_model_use
from harness.plan.segments import method_segments, supervised_segments
from harness.spec.stages.base import Loading
from harness.spec.stages.train import CombinedRewardUse, RewardPart, TrainConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.api import MethodRegistration
    from harness.plan.graph import Stage
    from harness.plan.planner import Planner
    from harness.plan.segments import Segment
    from harness.spec.benchmark import MethodEntry
    from harness.spec.model import Model


def chain_of(planner: Planner, model: Model, entry: MethodEntry, seed: int) -> tuple[Stage, ...]:
    """Return the training stages of a row for one seed, the shared ones first."""
    stages: list[Stage] = []
    if entry is planner.shared:
        segments = supervised_segments(entry.recipe)
    else:
        segments = method_segments(entry, planner.start.recipe)
        if entry.start == "after":
            stages += _supervised_start(planner, model, seed)
    for segment in segments:
        start = stages[-1] if stages else planner.model(model, seed)
        stages.append(_train(planner, model, entry, seed, segment, start))
    return tuple(stages)


def _supervised_start(planner: Planner, model: Model, seed: int) -> tuple[Stage, ...]:
    """Return the stages of the shared row that ``start: after`` goes on from: all but what a budget of its own ends."""
    stages = chain_of(planner, model, planner.start, seed)
    return tuple(stage for stage in stages if not (isinstance(stage.config, TrainConfig) and stage.config.budget))


def _train(planner: Planner, model: Model, entry: MethodEntry, seed: int, segment: Segment, start: Stage) -> Stage:
    """Return one stage of a chain."""
    trained = entry if segment.active else planner.start
    registration = planner.method(trained.use)
    registration = registration.resolved(planner.registry.options("method", trained.use, trained.options))
    parents = {"rows": planner.data(planner.benchmark.train), "start": start}
    if "preferences" in registration.needs:
        planner.preferences.append(parents["rows"])
    if {"reference", "preferences"} <= registration.needs:
        parents |= reference_parents(planner, model, entry.recipe, parents)
    judged = _uses_reward_model(planner, registration)
    if judged:
        parents |= planner.reward_models[model.shown].parents
    config = TrainConfig(
        method=planner.plugin("method", trained.use, trained.options),
        recipe=entry.recipe.step_settings,
        sampling=None if registration.supervised else entry.recipe.method_sampling,
        first=segment.first,
        last=segment.last,
        budget=segment.budget,
        curve=segment.curve,
        fresh_optimizer=segment.fresh,
        seed=seed,
        template=planner.benchmark.template,
        loading=Loading.of(model),
        reward=_reward(planner, trained.reward_weights) if "reward" in registration.needs else None,
        reward_model=reward_model_use(planner.benchmark, model) if judged else None,
    )
    runtime = planner.runtime(
        tokens_per_micro_batch=entry.recipe.tokens_per_micro_batch,
        gradient_checkpointing=entry.recipe.gradient_checkpointing,
    )
    spent = f"{segment.first}-{segment.last}" if segment.budget is None else f"{segment.first} and a budget"
    label = f"{model.shown}/{entry.label}/seed {seed}/epochs {spent}"
    if not segment.active:
        label += f" as {planner.start.label}"
    stage = planner.add(label, config, parents, runtime)
    if entry.recipe.adapter is not None and not stage.done:
        check_installed(f"methods.{entry.label}, recipe.adapter")
    return stage


def _uses_reward_model(planner: Planner, registration: MethodRegistration) -> bool:
    """Return whether training by a method asks the reward model: the method itself, or its reward."""
    reward = planner.benchmark.reward
    parts = reward.parts if reward and "reward" in registration.needs else ()
    rewards: list[Any] = [planner.registry.get("reward", part.use) for part in parts]
    asks = "reward_model" in registration.needs or any("reward_model" in reward.needs for reward in rewards)
    if asks and planner.benchmark.reward_model is None:
        what = "a method of this benchmark needs a reward model, and the file names none"
        raise InputError(what, expected="reward_model:")
    return asks


def _reward(planner: Planner, weights: Mapping[str, float]) -> CombinedRewardUse:
    reward = planner.benchmark.reward
    if reward is None:
        raise InputError("a method of this benchmark needs a reward, and the file names none", expected="reward:")
    parts = [
        RewardPart(reward=planner.plugin("reward", part.use, part.options), weight=weights.get(part.label, part.weight))
        for part in reward.parts
    ]
    return CombinedRewardUse(parts=tuple(parts), aggregate=reward.aggregate)
