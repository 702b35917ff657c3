"""``train``: one segment of a run's schedule, from a checkpoint to the next."""

from __future__ import annotations

import warnings
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from harness.lm.way import way_of
from harness.spec.results.adapter import AdapterRecord
from harness.spec.results.files import LOGPROBS, OPTIMIZER, POINTS
from harness.spec.results.reference import ReferenceSummary
from harness.spec.results.train import ReferenceCost, TrainStep, TrainSummary
from harness.stages.adapted import adapted_start, goes_on
from harness.stages.environment import environment
from harness.stages.judge import load_reward_backbone, load_reward_model
from harness.stages.setup import lend_policy, load_policy, make_room, prepared_rows
from harness.stages.stored_rows import read
from harness.stages.taught import taught
from harness.text.encode import EncodingParams, encode
from harness.text.formats import format_of
from harness.training import sharding
from harness.training.assignment import Judges, RunContext, TrainingPlan
from harness.training.declared import DeclaredMethod
from harness.training.distributed import join
from harness.training.extent import missed
from harness.training.loop import train
from harness.training.reference import Precomputed
from harness.training.rewards import CombinedReward
from harness.training.schedule import LearningRate
from harness.training.stop import stop_on_signals
from harness.training.tokenizer import PluginTokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.api import Example, MethodRegistration, Tokenizer
    from harness.lm.model.policy import Policy
    from harness.plugins.registry import Registry
    from harness.spec.stages.train import TrainConfig
    from harness.stages.request import StageRequest, Tell
    from harness.store.drafts import Draft
    from harness.store.records import Record
    from harness.store.stages import Store
    from harness.text.encode import Encoded
    from harness.text.formats import Format

#: Steps between two states from which a stage that was killed goes on, where time does not ask for one earlier.
_SAVE_EVERY = 500

#: How much longer ranks wait for one another than the run waits for a heartbeat: one may rightly be slower.
_PATIENCE = 3


def run(request: StageRequest[TrainConfig], store: Store, registry: Registry, tell: Tell) -> Record | None:
    """Train the segment; on several ranks the first one alone writes, and alone returns a record."""
    config, runtime = request.config, request.runtime
    where = environment(request)
    # before anything is loaded: joining makes this rank's own GPU the current one
    patience = timedelta(minutes=_PATIENCE * runtime.rank_timeout_minutes)
    divided = runtime.shard and runtime.ranks > 1
    ranks = (sharding.join if divided else join)(runtime.ranks, torch.device(runtime.device), patience)
    make_room()
    # weights that are to be divided never lie on a device as a whole
    loading = replace(request, runtime=runtime.model_copy(update={"device": "cpu"})) if divided else request
    policy, start_sha256, base = adapted_start(loading, store)
    encoded = _rows(request, store, policy)
    learnt = None
    if _registration(config, registry).supervised:
        kept, learnt = taught(encoded.rows, request.label)
        encoded = replace(encoded, rows=tuple(kept))
    judges = _judges(request, store, registry, PluginTokenizer(policy.tokeniser, policy.eos_id), loading)
    if ranks.first and (steps := len(encoded.rows) // config.recipe.batch_size):
        for text in LearningRate.of(config.curve, steps).shortfalls():
            warnings.warn(text, stacklevel=1)  # the run shows it, and the record keeps it
    rows: list[TrainStep] = []
    plan = replace(
        _plan(request, store, dropped=encoded.counts["dropped"], environment=where), start_sha256=start_sha256
    )
    method = _method(config, registry)
    with stop_on_signals() as stop:
        context = RunContext(
            log=rows.append,
            progress=lambda done, total, _rate: tell(done, total, "step", _note(rows)),
            ranks=ranks,
            unfinished=store.scratch(request.kind, request.id),
            stop=stop,
            keep=stop.asked_to_keep,
            note=lambda text: tell(0, 0, "step", text),
        )
        if not ranks.first:
            with TemporaryDirectory() as nowhere:
                train(plan, policy, encoded.rows, method, Path(nowhere), context=context, judges=judges)
            return None
        with store.draft(request.kind, request.id) as draft:
            summary = train(plan, policy, encoded.rows, method, draft.folder, context=context, judges=judges)
            done = _finished_meanwhile(request, store, draft)
            if done is not None:
                return done
            if config.budget is not None and summary.budget and (text := missed(config.budget, summary.budget[0])):
                warnings.warn(text, stacklevel=1)
            draft.write_lines(TrainStep, rows)
            if config.recipe.adapter is not None:
                draft.write(AdapterRecord(settings=config.recipe.adapter, base=base))
            draft.write(summary.model_copy(update={"trained_on": learnt, "way": str(way_of(policy))}))
            record = store.commit(
                draft,
                config=config.to_json(),
                environment=where,
                label=request.label,
                measured=[TrainStep.file, TrainSummary.file],
                replace=config.ended_by_clock,
            )
    if runtime.ranks == 1 and not _drops(config) and not runtime.gradient_checkpointing:
        lend_policy(request, policy, config.loading)
    return record


def _finished_meanwhile(request: StageRequest[TrainConfig], store: Store, draft: Draft) -> Record | None:
    """Return the result of another run that has finished the stage, and cleared away the points of this one."""
    budget = request.config.budget
    places = [f"{POINTS}/{point.folder}" for point in budget.points] if budget is not None else []
    if all((draft.folder / place).is_dir() for place in places):
        return None
    record = store.find(request.kind, request.id)
    return record if record is not None and all(record.holds(place) for place in places) else None


def _drops(config: TrainConfig) -> bool:
    adapter = config.recipe.adapter
    return bool(config.recipe.dropout or (adapter and adapter.dropout))


def _plan(
    request: StageRequest[TrainConfig], store: Store, *, dropped: int, environment: Mapping[str, Any]
) -> TrainingPlan:
    config, runtime = request.config, request.runtime
    plan = TrainingPlan(
        method=config.method.name,
        recipe=config.recipe,
        seed=config.seed,
        first=config.first,
        last=config.last,
        curve=config.curve,
        budget=config.budget,
        tokens_per_micro_batch=runtime.tokens_per_micro_batch,
        gradient_checkpointing=runtime.gradient_checkpointing,
        previous=_previous(request, store),
        dropped=dropped,
        identity=request.id,
        environment=environment,
        speaks=config.trains == "policy",
        concurrent=runtime.concurrent,
        save_every=_SAVE_EVERY,
        save_minutes=runtime.checkpoint_minutes,
    )
    return plan if config.sampling is None else replace(plan, sampling=config.sampling)


def _judges(
    request: StageRequest[TrainConfig],
    store: Store,
    registry: Registry,
    tokenizer: Tokenizer,
    loading: StageRequest[TrainConfig],
) -> Judges:
    """Return whom the method may ask; ``loading`` says where models are loaded that are divided as the policy is."""
    config, use = request.config, request.config.reward_model
    judge = load_reward_model(request, store, use) if use is not None else None
    reward = None
    if config.reward is not None:
        score = judge.score if judge is not None else None
        reward = CombinedReward.build(config.reward.section, registry, score, tokenizer)
    return Judges(
        reward=reward,
        reward_model=judge,
        load_reference=lambda: load_policy(loading, store, "start", config.loading),
        load_reward_model=(
            None if use is None or judge is None else lambda: load_reward_backbone(loading, store, use, judge)
        ),
        precomputed=_precomputed(request, store),
    )


def _method(config: TrainConfig, registry: Registry) -> DeclaredMethod:
    use = config.method
    return DeclaredMethod(
        registry.build("method", use.name, use.options),
        _registration(config, registry).needs,
        registry.find("method", use.name).named,
    )


def _registration(config: TrainConfig, registry: Registry) -> MethodRegistration:
    registration: Any = registry.resolved("method", config.method.name, config.method.options)
    return registration  # type: ignore[no-any-return]  # the kind fixes the type


def _rows(request: StageRequest[TrainConfig], store: Store, policy: Policy) -> Encoded:
    config, rows = request.config, prepared_rows(request, store)
    examples = read(rows)
    if config.trains == "reward_model":
        examples = map(_as_judged(format_of(config.template, policy.tokeniser, where=rows.label)), examples)
    return encode(
        examples,
        policy.tokeniser,
        config.template,
        EncodingParams.of_training(config.recipe),
        positions=policy.positions_limit,
        where=rows.label,
    )


def _as_judged(format_: Format) -> Callable[[Example], Example]:
    """Return what gives the answers of a pair the form in which they are judged later."""

    def change(example: Example) -> Example:
        prompt = format_.render(example)
        chosen, rejected = (format_.judged(prompt, side or "") for side in (example.chosen, example.rejected))
        return replace(example, completion=None, chosen=chosen, rejected=rejected)

    return change


def _previous(request: StageRequest[TrainConfig], store: Store) -> Path | None:
    """Return the folder whose optimiser goes on: that of a training stage, unless this segment starts afresh."""
    start = request.parents["start"]
    if start.kind != "train" or request.config.fresh_optimizer:
        return None
    record = store.open(start.kind, start.id)
    return record.path(OPTIMIZER).parent if goes_on(request.config, record) else None


def _precomputed(request: StageRequest[TrainConfig], store: Store) -> Precomputed | None:
    """Return where the reference model's log-probs lie, if a stage computed them."""
    parent = request.parents.get("reference_logprobs")
    if parent is None:
        return None
    record = store.open(parent.kind, parent.id)
    summary = record.read(ReferenceSummary)
    cost = ReferenceCost(pairs=summary.pairs, tokens=summary.tokens, seconds=summary.seconds)
    return Precomputed(record.path(LOGPROBS), summary.weights_sha256, cost)


def _note(rows: list[TrainStep]) -> str:
    """Say in a few words how the last step went."""
    if not rows:
        return ""
    last = rows[-1]
    said = dict(last.loss)
    if last.reward is not None and last.reward.mean is not None:
        said["reward"] = last.reward.mean
    return ", ".join(f"{name} {value:.3f}" for name, value in said.items())
