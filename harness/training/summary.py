"""What training writes down: a row a step, and a summary of all rows."""

from __future__ import annotations

import hashlib
import math
import numbers
from typing import TYPE_CHECKING, Any

import torch

from harness.errors import PluginError
from harness.spec.results.train import HeldModel

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from torch import nn

    from harness.training.distributed import Ranks
    from harness.training.record import StepRecord
    from harness.training.updates import Update


def step_row(record: StepRecord, said: Mapping[str, Any], ranks: Ranks, *, method: str) -> dict[str, Any]:
    """Return what a step's row says of its updates, samples and rewards, over all ranks.

    Several updates of one step (PPO) give the means of their losses and norms.
    """
    signal = record.close()
    mine = (signal, record.notes.sums, record.generated, record.rewarded)
    generated = rewarded = 0
    notes: dict[str, tuple[float, int]] = {}
    for number, (other, sums, tokens, calls) in enumerate(ranks.gather(mine)):
        if number == 0:
            signal = other
        else:
            signal.merge(other)
        generated += tokens
        rewarded += calls
        for name, (total, count) in sums.items():
            before = notes.get(name, (0.0, 0))
            notes[name] = (before[0] + total, before[1] + count)
    row = _updates(record.updates)
    row |= signal.row()
    if "reward" in row:
        row["reward"]["calls"] = rewarded
        if notes:
            row["reward"]["notes"] = {name: total / count for name, (total, count) in sorted(notes.items())}
    row["tokens"] = {"generated": generated, "trained": sum(update.tokens for update in record.updates)}
    row["micro_batches"] = sum(update.parts for update in record.updates)
    reported = {name for update in record.updates for name in update.report()}
    row |= _said({name: value for name, value in said.items() if name not in reported}, method)
    return row


def _updates(updates: Sequence[Update]) -> dict[str, Any]:
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
    without = {
        # an update that a share has no part in is all of the others'
        name: sum(update.without.get(name, update.grad_norm) for update in updates) / len(updates)
        for name in norms
        if all(name in update.without or name not in update.losses for update in updates)
    }
    row: dict[str, Any] = {
        "loss": losses,
        "grad_norm": sum(update.grad_norm for update in updates) / max(1, len(updates)),
        "moved": moved,
    }
    return row | ({"grad_norms": norms, "grad_norms_without": without} if norms else {})


def _said(said: Mapping[str, Any], method: str) -> dict[str, Any]:
    """Return what a method logged of its own. JSON has no NaN: what is not finite is named instead."""
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
    row: dict[str, Any] = {"method": finite} if finite else {}
    return row | ({"not_finite": not_finite} if not_finite else {})


def active(rows: Sequence[Mapping[str, Any]]) -> dict[str, bool]:
    """Return whether each share of the loss had a gradient in some step."""
    found: dict[str, bool] = {}
    for row in rows:
        for name, yes in row["moved"].items():
            found[name] = found.get(name, False) or yes
    return found


def held(role: str, parameters: Iterable[nn.Parameter]) -> HeldModel:
    """Return how large a model is that was held in memory beside the others."""
    known = list(parameters)
    return HeldModel(
        role=role,
        parameters=sum(parameter.numel() for parameter in known),
        bytes=sum(parameter.numel() * parameter.element_size() for parameter in known),
    )


def module_digest(module: nn.Module) -> str:
    """Return the sha256 of a module's parameters and buffers, names and bytes."""
    state = hashlib.sha256()
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        state.update(f"{name}\x00{tensor.dtype}\x00{tuple(tensor.shape)}\x00".encode())
        state.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return state.hexdigest()
