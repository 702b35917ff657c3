"""Which stages must be made, and which of them were there before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import StorageError
from harness.spec.results.files import CHECKPOINT, LOGPROBS, MODULES, OPTIMIZER, POINTS
from harness.spec.stages.generate import GenerateConfig
from harness.spec.stages.score import ModelScoreConfig
from harness.spec.stages.train import TrainConfig
from harness.store.damage import Damage

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from harness.plan import Plan, Stage
    from harness.store.stages import Store

#: The kinds of stages that may have let files go.
_MAY_LACK = frozenset({"train", "precompute"})


def required(
    plan: Plan, store: Store, again: Collection[str] = (), *, among: Collection[str] | None = None
) -> list[Stage]:
    """Return the stages to make, parents first; those whose keys are in ``again`` though they are done.

    With ``among`` only stages whose keys it holds are made; it holds the parents of each.
    A finished stage whose weights, moments or stored log-probs were pruned is made again only where a stage to make
    reads them.
    """
    wanted: dict[str, Stage] = {}
    asked: dict[str, set[str]] = {}
    for stage in reversed(list(plan.stages.values())):  # children before their parents
        if among is not None and stage.key not in among:
            continue
        if stage.done and stage.key not in again and _holds(stage, asked.get(stage.key, ()), store):
            continue
        wanted[stage.key] = stage
        for name, parent in stage.parents.items():
            if parent.kind in _MAY_LACK:
                asked.setdefault(parent.key, set()).update(_reads(stage, name))
    return [stage for stage in plan.stages.values() if stage.key in wanted]


def _reads(stage: Stage, parent: str) -> tuple[str, ...]:
    """Return what a stage needs of a parent that is a training stage, or that computed something for it."""
    if stage.parents[parent].kind == "precompute":
        return (LOGPROBS,) if parent == "reference_logprobs" else ()
    if parent == "reward_model":
        return (CHECKPOINT, MODULES)
    at = stage.config.at if isinstance(stage.config, (GenerateConfig, ModelScoreConfig)) else None
    if at is not None and parent in {"checkpoint", "policy"}:
        return (f"{POINTS}/{at.folder}",)
    goes_on = isinstance(stage.config, TrainConfig) and parent == "start" and not stage.config.fresh_optimizer
    return (CHECKPOINT, OPTIMIZER) if goes_on else (CHECKPOINT,)


def _holds(stage: Stage, names: Iterable[str], store: Store) -> bool:
    """Return whether the store has these parts of a stage; of an adapter, also the weights that it goes on."""
    names, record = set(names), store.find(stage.kind, stage.id or "")
    if record is None or not all(record.holds(name) for name in names):
        return False
    below = base_of(stage) if CHECKPOINT in names else None
    return below is None or _holds(below, {CHECKPOINT} if below.kind in _MAY_LACK else (), store)


def base_of(stage: Stage) -> Stage | None:
    """Return the stage whose weights an adapter goes on, None where all weights were trained."""
    adapter = stage.config.recipe.adapter if isinstance(stage.config, TrainConfig) else None
    if adapter is None:
        return None
    below = stage.parents["start"]
    while isinstance(below.config, TrainConfig) and below.config.recipe.adapter == adapter:
        below = below.parents["start"]
    return below


def made_before(plan: Plan, needed: Iterable[Stage], store: Store) -> dict[str, str]:
    """Return why stages to make are made again that were made before, by key."""
    wanted = {stage.key: stage for stage in needed}
    reasons: dict[str, str] = {}
    for stage in wanted.values():
        damage = plan.damaged.get(stage.key)
        if damage is not None:
            reasons[stage.key] = f"{damage.file} {damage.details}"
        for name, parent in stage.parents.items():
            current = wanted.get(parent.key) if parent.kind in _MAY_LACK else None
            if current is not None and current.done and current.key not in reasons:
                lacking = [part for part in _reads(stage, name) if not _holds(current, (part,), store)]
                if lacking:
                    reasons[current.key] = f"{' and '.join(lacking)} had been pruned, and {stage.label} needs it"
    return reasons


def quarantine_damaged(plan: Plan, store: Store) -> dict[str, Damage]:
    """Check every file of every finished stage, and move the damaged ones out of the way; return them by key."""
    damaged = dict(plan.damaged)
    for stage in plan.stages.values():
        record = store.look(stage.kind, stage.id) if stage.id and stage.key not in damaged else None
        if isinstance(record, Damage):
            damaged[stage.key] = record.known_as(stage.label)
        elif record is not None:
            damage = next((damage for damage in record.damages() if damage.spoils), None)
            if damage is not None:
                damaged[stage.key] = damage
    for damage in damaged.values():
        quarantine(damage, store)
    return damaged


def quarantine(damage: Damage, store: Store) -> None:
    """Move a damaged stage out of the way, unless it is gone or whole again.

    Raises:
        StorageError: the operating system does not let it be moved.
    """
    if store.quarantine(damage) is not None:
        return
    seen = store.look(damage.kind, damage.id)
    if isinstance(seen, Damage) or (seen is not None and any(problem.spoils for problem in seen.damages())):
        raise StorageError(
            f"a damaged stage cannot be quarantined: {damage}",
            where=str(damage.folder),
            hint="it needs permission to write there, or another --results DIR",
        )
