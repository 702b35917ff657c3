"""``train``: one segment of a run's schedule, from a checkpoint to the next."""

from __future__ import annotations

import warnings
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from harness.lm.score.reward_model import answer_text
from harness.lm.text.templates import render
from harness.spec.benchmark import Recipe, Reward, Template
from harness.stages.kinds import taught
from harness.stages.setup import (
    encode_rows,
    environment,
    lend_policy,
    load_policy,
    load_reward_backbone,
    load_reward_model,
    make_room,
)
from harness.training.assignment import Surroundings, TrainingPlan
from harness.training.declared import DeclaredMethod
from harness.training.distributed import join
from harness.training.loop import train
from harness.training.reference import FILE, Precomputed
from harness.training.rewards import CombinedReward
from harness.training.schedule import Curve, position_epochs
from harness.training.stop import stop_on_signals

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.api import Example, MethodRegistration
    from harness.lm.text.encode import Encoded
    from harness.plugins import Registry
    from harness.stages.order import Order, Tell
    from harness.store import Record, Store

LOG = "train.jsonl"
SUMMARY = "summary.json"

#: Steps between two states from which a stage that was killed goes on, where time does not ask for one earlier.
_SAVE_EVERY = 500

#: How much longer ranks wait for one another than the run waits for a sign of life: one may rightly be slower.
_PATIENCE = 3


def run(order: Order, store: Store, registry: Registry, tell: Tell) -> Record | None:
    """Train the segment; on several ranks the first one alone writes, and alone returns a record."""
    config = order.config
    where = environment(order)
    recipe = _recipe(order)
    # before anything is loaded: joining makes this rank's own GPU the current one
    patience = timedelta(minutes=_PATIENCE * order.runtime["rank_timeout_minutes"])
    ranks = join(order.runtime["ranks"], torch.device(order.runtime["device"]), patience)
    make_room()
    policy = load_policy(order, store, "start", dropout=recipe.dropout)
    encoded = _rows(order, store, policy, recipe)
    learnt = None
    if _registration(order, registry).supervised:
        kept, learnt = taught(encoded.rows, order.label)
        encoded = replace(encoded, rows=tuple(kept))
    judge = load_reward_model(order, store) if "reward_model" in order.parents else None
    reward = None
    if "reward" in config:
        reward = CombinedReward.build(
            Reward(**_reward(config["reward"])), registry, judge.score if judge is not None else None
        )
    if ranks.first and (steps := len(encoded.rows) // recipe.batch_size):
        for text in Curve.from_config(config["curve"], steps).shortfalls():
            warnings.warn(text, stacklevel=1)  # the run shows it, and the record keeps it
    rows: list[Mapping[str, Any]] = []
    plan = TrainingPlan(
        method=config["method"],
        recipe=recipe,
        seed=config["seed"],
        first=config["first"],
        last=config["last"],
        curve=config["curve"],
        previous=_previous(order, store),
        dropped=encoded.counts["dropped"],
        identity=order.id,
        environment=where,
        speaks=config.get("trains") != "reward_model",
        concurrent=order.runtime["concurrent"],
        save_every=_SAVE_EVERY,
        save_minutes=order.runtime["checkpoint_minutes"],
    )
    with stop_on_signals() as stop:
        around = Surroundings(
            log=rows.append,
            tell=lambda done, total, _rate: tell(done, total, "step", _note(rows)),
            ranks=ranks,
            unfinished=store.scratch(order.kind, order.id),
            stop=stop,
            keep=stop.asked_to_keep,
            note=lambda text: tell(0, 0, "step", text),
        )
        registration: Any = registry.resolved("method", config["method"], config["options"])
        method = DeclaredMethod(
            registry.build("method", config["method"], config["options"]),
            registration.needs,
            registry.find("method", config["method"]).named,
        )
        settings: dict[str, Any] = {"around": around, "reward": reward, "reward_model": judge}
        if judge is not None:
            settings["load_reward_model"] = lambda: load_reward_backbone(order, store, judge)
        settings["load_reference"] = lambda: load_policy(order, store, "start")
        settings["precomputed"] = _precomputed(order, store)
        if not ranks.first:
            with TemporaryDirectory() as nowhere:
                train(plan, policy, encoded.rows, method, Path(nowhere), **settings)
            return None
        with store.draft(order.kind, order.id) as draft:
            summary = train(plan, policy, encoded.rows, method, draft.folder, **settings)
            summary |= {"trained_on": learnt} if learnt is not None else {}
            draft.write_jsonl(LOG, rows)
            draft.write_json(SUMMARY, summary)
            record = draft.commit(config=config, environment=where, label=order.label, measured=[LOG, SUMMARY])
    if order.runtime["ranks"] == 1 and not recipe.dropout and not recipe.gradient_checkpointing:
        lend_policy(order, policy)
    return record


def _registration(order: Order, registry: Registry) -> MethodRegistration:
    name = order.config["method"]
    registration: Any = registry.get("method", name)
    found: MethodRegistration = registration.resolved(registry.options("method", name, order.config["options"]))
    return found


def _recipe(order: Order) -> Recipe:
    """Put the recipe together again: what changes results from the configuration, the rest from the run."""
    config, runtime = order.config, order.runtime
    curve = config["curve"]
    epochs = position_epochs(curve.get("then", curve)["last"])
    return Recipe(
        **config["recipe"],
        epochs=epochs,
        method_epochs=min(1, epochs),
        tokens_per_micro_batch=runtime["tokens_per_micro_batch"],
        gradient_checkpointing=runtime["gradient_checkpointing"],
    )


def _rows(order: Order, store: Store, policy: Any, recipe: Recipe) -> Encoded:
    return encode_rows(
        order,
        store,
        policy,
        max_prompt=recipe.max_prompt_length,
        max_completion=recipe.max_completion_length,
        training=True,
        train_eos=recipe.train_eos,
        change=_as_judged(order) if order.config.get("trains") == "reward_model" else _as_it_is,
    )


def _as_it_is(example: Example) -> Example:
    return example


def _as_judged(order: Order) -> Callable[[Example], Example]:
    """Return what gives the answers of a pair the form in which they are judged later."""
    template = Template(**order.config["template"])

    def change(example: Example) -> Example:
        prompt = render(template, example.fields)
        chosen, rejected = (answer_text(prompt, side or "") for side in (example.chosen, example.rejected))
        return replace(example, completion=None, chosen=chosen, rejected=rejected)

    return change


def _reward(config: Mapping[str, Any]) -> dict[str, Any]:
    parts = [{name: value for name, value in part.items() if name != "plugin"} for part in config["parts"]]
    return {**config, "parts": parts}


def _previous(order: Order, store: Store) -> Path | None:
    """Return the folder whose optimiser goes on: that of a training stage, unless this segment starts afresh."""
    start = order.parents["start"]
    if start.kind != "train" or order.config["fresh_optimizer"]:
        return None
    return store.open(start.kind, start.id).path("optimizer.safetensors").parent


def _precomputed(order: Order, store: Store) -> Precomputed | None:
    """Return where the reference model's log-probs lie, if a stage computed them."""
    parent = order.parents.get("reference_logprobs")
    if parent is None:
        return None
    record = store.open(parent.kind, parent.id)
    summary = record.json(SUMMARY)
    cost = {name: summary[name] for name in ("pairs", "tokens", "seconds")}
    return Precomputed(record.path(FILE), summary["weights_sha256"], cost)


def _note(rows: list[Mapping[str, Any]]) -> str:
    """Say in a few words how the last step went."""
    if not rows:
        return ""
    last = rows[-1]
    losses = ", ".join(f"{name} {value:.3f}" for name, value in last["loss"].items())
    reward = last.get("reward")
    return losses + (f", reward {reward['mean']:.3f}" if reward and reward.get("mean") is not None else "")
