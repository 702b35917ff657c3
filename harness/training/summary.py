"""What training writes down: a row a step, and a summary of all rows."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import torch

from harness.errors import PluginError
from harness.spec.results.train import HeldModel, StepTokens, TrainStep
from harness.training.logged import LoggedMeans
from harness.training.meters import Signal
from harness.training.sharding import own

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from torch import nn

    from harness.lm.model.policy import Policy
    from harness.lm.score.reward_model import RewardModel
    from harness.spec.results.train import Phase, StepDigests, StepSampler
    from harness.training.distributed import Ranks
    from harness.training.record import RunProgress, StepRecord
    from harness.training.services import Services
    from harness.training.updates import Update


@dataclass(frozen=True)
class StepTotals:
    """What happened in one step, over all ranks."""

    signal: Signal
    notes: dict[str, float]
    """Means of what the rewards reported."""
    logged: dict[str, float]
    """Means that the method logged through the run."""
    generated: int
    rewarded: int
    updates: Sequence[Update]
    """Totals already, and the same on every rank."""
    drawn: Sequence[int] = ()
    """Of each call that drew samples, the sum of their digests, modulo 2^64."""
    sampler: StepSampler | None = None
    """How far another engine's log-probs lay from the model's own; such an engine has one rank."""


def over_ranks(record: StepRecord, ranks: Ranks) -> StepTotals:
    """Add up what happened on each rank; all must ask."""
    signal = Signal()
    generated = rewarded = 0
    sums: dict[str, tuple[float, int]] = {}
    means = LoggedMeans()
    drawn: list[int] = []
    mine = (record.close(), record.notes.sums, record.logged.sums, record.generated, record.rewarded, record.drawn)
    for other, noted, logged, tokens, calls, samples in ranks.gather(mine):
        drawn = [(one + more) % 2**64 for one, more in zip_longest(drawn, samples, fillvalue=0)]
        means.merge([logged])
        signal.merge(other)
        generated += tokens
        rewarded += calls
        for name, (total, count) in noted.items():
            before = sums.get(name, (0.0, 0))
            sums[name] = (before[0] + total, before[1] + count)
    notes = {name: total / count for name, (total, count) in sorted(sums.items())}
    means.merge(update.logged.sums for update in record.updates)  # totals over the ranks already
    return StepTotals(signal, notes, means.means(), generated, rewarded, record.updates, drawn, record.sampler)


def step_row(
    totals: StepTotals,
    said: Mapping[str, Any],
    *,
    method: str,
    progress: RunProgress,
    rate: float,
    drift: tuple[float, float] | None,
    digests: StepDigests | None,
    seconds: dict[Phase, float],
) -> TrainStep:
    """Return the log's row of a step. Several updates of one step (PPO) give the means of their losses and norms.

    Args:
        totals: what happened.
        said: what the method returned.
        method: its name.
        progress: where the step stands.
        rate: the learning rate.
        drift: on diagnosed steps, what :meth:`harness.training.probe.Probe.compare` gave.
        digests: what tells its course from another's.
        seconds: how long it took, by phase.

    Raises:
        PluginError: the method returned what is not a number.
    """
    updates = totals.updates
    losses: dict[str, float] = {}
    moved: dict[str, bool] = {}
    norms: dict[str, float] = {}
    for update in updates:
        for name, value in update.losses.items():
            losses[name] = losses.get(name, 0.0) + value / len(updates)
        for name, value in update.grad_norms.items():
            norms[name] = norms.get(name, 0.0) + value / len(updates)
        for name, yes in update.moved.items():
            moved[name] = moved.get(name, False) or yes
    reported = {name for update in updates for name in update.report()}
    own = {name: value for name, value in said.items() if name not in reported}
    if twice := sorted(own.keys() & totals.logged.keys()):
        what = f"step() returned {twice[0]!r}, which was logged through run.log() too"
        raise PluginError(what, where=f"method {method!r}", expected="each number in one of the two")
    finite, not_finite = _numbers({**own, **totals.logged}, method)
    return TrainStep(
        step=progress.step,
        epoch=progress.epoch,
        learning_rate=rate,
        loss=losses,
        grad_norm=sum(update.grad_norm for update in updates) / max(1, len(updates)),
        moved=moved,
        grad_norms=norms or None,
        grad_norms_without=_without(updates, norms) if norms else None,
        samples=totals.signal.samples(),
        reward=totals.signal.rewards(calls=totals.rewarded, notes=totals.notes),
        groups=totals.signal.groups(),
        tokens=StepTokens(generated=totals.generated, trained=sum(update.tokens for update in updates)),
        micro_batches=sum(update.parts for update in updates),
        method=finite or None,
        not_finite=not_finite or None,
        kl=None if drift is None else drift[0],
        probe_entropy=None if drift is None else drift[1],
        digests=digests,
        seconds=seconds,
        sampler=totals.sampler,
    )


def _without(updates: Sequence[Update], names: Iterable[str]) -> dict[str, float]:
    """Return the norm without each share, a mean over updates: one that a share has no part in is all the others'."""
    return {
        name: sum(update.without.get(name, update.grad_norm) for update in updates) / len(updates)
        for name in names
        if all(name in update.without or name not in update.losses for update in updates)
    }


def _numbers(said: Mapping[str, Any], method: str) -> tuple[dict[str, float], tuple[str, ...]]:
    """Return what a method logged, and the names of what is not finite: JSON has no NaN."""
    finite: dict[str, float] = {}
    not_finite: list[str] = []
    for name, value in said.items():
        if isinstance(value, torch.Tensor) and value.numel() == 1:
            value = value.item()  # noqa: PLW2901  # a number from here on
        if not isinstance(value, numbers.Real):
            raise PluginError(
                f"step() returned something that is not a number under {name!r}",
                where=f"method {method!r}",
                got=type(value).__name__,
            )
        if math.isfinite(value):
            finite[name] = float(value)
        else:
            not_finite.append(name)
    return finite, tuple(not_finite)


def active(rows: Sequence[TrainStep]) -> dict[str, bool]:
    """Return whether each share of the loss had a gradient in some step."""
    shares: dict[str, bool] = {}
    for row in rows:
        for name, yes in row.moved.items():
            shares[name] = shares.get(name, False) or yes
    return shares


def models_held(
    policy: Policy, trained: Iterable[nn.Parameter], services: Services, reward_model: RewardModel | None
) -> tuple[HeldModel, ...]:
    """Return every model that a segment held in memory."""
    models = [held("policy", policy.model.parameters())]
    if policy.adapter is not None:
        start = policy.adapter.start_parameters()
        numbers = sum(parameter.numel() for parameter in trained)
        models = [held("policy", policy.model.parameters(), without=start, trained=numbers)]
        models += [held("reference adapter", start)] if start else []
    elif services.reference.loaded is not None:
        models.append(held("reference", services.reference.loaded.model.parameters()))
    if reward_model is not None:
        models.append(held("reward", reward_model.parameters()))
    models += [held(f"module {name}", module.parameters()) for name, module in services.modules.items()]
    return tuple(models)


def held(
    role: str,
    parameters: Iterable[nn.Parameter],
    *,
    without: Iterable[nn.Parameter] = (),
    trained: int | None = None,
) -> HeldModel:
    """Return how large a model is that was held in memory beside the others; ``without`` count elsewhere."""
    others = {id(weight) for weight in without}
    weights = [weight for weight in parameters if id(weight) not in others]
    return HeldModel(
        role=role,
        trained=trained,
        parameters=sum(weight.numel() for weight in weights),
        bytes=sum(own(weight).numel() * weight.element_size() for weight in weights),
    )
