"""One optimiser step: micro-batches, sum over ranks, checks before anything moves, clipping, the step itself."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from harness.errors import DivergedError, PluginError
from harness.in_parts import Batcher, free_memory, out_of_memory, random_state
from harness.training.budget import count_rows, row_tokens, take_all
from harness.training.logged import LoggedMeans
from harness.training.sharding import is_divided, own, total_norm, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor, nn

    from harness.training.distributed import Ranks
    from harness.training.meters import Clock
    from harness.training.optimiser import Optimiser
    from harness.training.shares import Outputs, Share

HINT = "shorten max_prompt_length or max_completion_length, turn on gradient_checkpointing, or use a smaller model"


@dataclass
class Update:
    """What one optimiser step did."""

    losses: dict[str, float] = field(default_factory=dict)
    """Each share's total over all parts and ranks."""
    moved: dict[str, bool] = field(default_factory=dict)
    grad_norm: float = 0.0
    """Before clipping."""
    grad_norms: dict[str, float] = field(default_factory=dict)
    """Of each share by itself; on diagnosed steps only."""
    without: dict[str, float] = field(default_factory=dict)
    """Of the sum of all shares but this one, which is not the sum of their norms; on diagnosed steps only."""
    tokens: int = 0
    """Tokens whose log-probs were handed to the loss, over all ranks."""
    parts: int = 0
    """Micro-batches, over all ranks."""
    logged: LoggedMeans = field(default_factory=LoggedMeans)
    """What the loss logged, over all parts and ranks."""

    def report(self) -> dict[str, float]:
        """Return what :meth:`harness.api.Run.update` gives back."""
        norms = {f"grad_norm/{name}": norm for name, norm in self.grad_norms.items()}
        return {**self.losses, "grad_norm": self.grad_norm, **norms}


@dataclass
class _Attempt:
    """This rank's part of an update."""

    losses: dict[str, float] = field(default_factory=dict)
    moved: dict[str, bool] = field(default_factory=dict)
    tokens: int = 0
    parts: int = 0
    logged: LoggedMeans = field(default_factory=LoggedMeans)
    separate: dict[str, list[Tensor | None]] = field(default_factory=dict)
    """On diagnosed steps: the gradient of each share that has one, but of :attr:`rest`."""
    rest: str = ""
    """On diagnosed steps: the first share that had a gradient, whose own is what the others leave of the whole: that
    saves a backward. Other ranks may have another one."""

    def add(self, settled: Mapping[str, Share], outputs: Outputs) -> None:
        self.parts += 1
        self.tokens += outputs.tokens
        self.logged.merge([outputs.logged.sums])
        for name, share in settled.items():
            self.losses[name] = self.losses.get(name, 0.0) + share.value
            self.moved[name] = self.moved.get(name, False) or share.moved

    def add_separate(self, name: str, gradient: Sequence[Tensor | None]) -> None:
        before = self.separate.setdefault(name, [None] * len(gradient))
        for place, slope in enumerate(gradient):
            total = before[place]
            if slope is not None:
                before[place] = slope.clone() if total is None else total.add_(slope)


class Updater:
    """Takes optimiser steps for a run."""

    def __init__(
        self,
        optimiser: Optimiser,
        ranks: Ranks,
        clock: Clock,
        *,
        budget: int,
        max_grad_norm: float,
    ) -> None:
        """Step ``optimiser``.

        Args:
            optimiser: what is stepped.
            ranks: who takes part.
            clock: what the seconds are charged to.
            budget: tokens of one forward, at most.
            max_grad_norm: above this norm the gradient is scaled down to it; 0 for never.
        """
        self.optimiser = optimiser
        self.ranks = ranks
        self.clock = clock
        self._max_grad_norm = max_grad_norm
        self.batcher = Batcher(budget, doing="training", hint=HINT)
        """Says how large micro-batches are."""
        self.outputs: Outputs | None = None
        """What the loss that is being computed was handed; None outside a loss."""
        self.step = 0
        self.rate = 0.0
        self.peak = 0.0
        self.diagnose = False

    @property
    def _parameters(self) -> list[nn.Parameter]:
        return list(self.optimiser.parameters.values())

    def update(self, loss: Callable[..., Mapping[str, Tensor]], rows: Mapping[str, Any]) -> Update:
        """Take one step along the gradient of a loss, which is called for one part of the rows after the other.

        Memory running out on any rank halves the budget on all and starts again, with the same rows and the same
        random numbers.

        Raises:
            DivergedError: a share or the gradient is not finite; on all ranks, before any weight has moved.
            MachineError: memory runs out for a single row.
        """
        if self.outputs is not None:
            raise PluginError("update() was called inside a loss")
        size = count_rows(rows)
        costs = row_tokens(rows)
        self.batcher.doing = f"taking step {self.step}"
        while True:
            cut = self.ranks.even(self.batcher.cut(costs))
            rewind = random_state()
            attempt = self._attempt(loss, rows, cut, size)
            alone = all(len(part) <= 1 for part in cut)
            worst = self.ranks.worst(0 if attempt is not None else 2 if alone else 1)
            if not worst and attempt is not None:
                break
            rewind()
            self.batcher.halve([[costs[i] for i in part] for part in cut], hopeless=worst == 2)
            self.batcher.budget = min(self.ranks.gather(self.batcher.budget))
        return self._finish(self._merge(attempt), attempt)

    def apply(self, name: str, set_gradient: Callable[[list[nn.Parameter]], None]) -> Update:
        """Take one step along a gradient that needs no loss: the same on every rank."""
        self.optimiser.clear()
        with self.clock.phase("forward_backward"):
            set_gradient(self._parameters)
        moved = any(bool(p.grad.any()) for p in self._parameters if p.grad is not None)
        return self._finish(Update(moved={name: moved}), None)

    def check_weights(self) -> None:
        """Raise DivergedError if a weight is not finite."""
        for name, parameter in self.optimiser.parameters.items():
            weights = own(parameter.detach())
            # the ends say it of all (NaN is both), in one pass and without a mask as large as the weights
            if weights.numel() and not all(math.isfinite(end) for end in weights.aminmax()):
                raise DivergedError(f"a weight is not finite after step {self.step}", where=name)

    def _attempt(
        self, loss: Callable[..., Mapping[str, Tensor]], rows: Mapping[str, Any], cut: list[list[int]], size: int
    ) -> _Attempt | None:
        """Return this rank's part, with its gradients in place; None where memory ran out."""
        self.optimiser.clear()
        attempt = _Attempt()
        try:
            with self.clock.phase("forward_backward"):
                for index in cut:
                    part = rows if len(index) == size else take_all(rows, index) if index else {}
                    self._part(loss, part, attempt)
        except Exception as error:
            if not out_of_memory(error) or self.ranks.divided:  # there the others are in the middle of this part
                raise
        else:
            return attempt
        finally:
            self.outputs = None
        # here, and not in the handler, the error's frames no longer hold the tensors
        del attempt
        self.optimiser.clear()
        free_memory()
        return None

    def _part(self, loss: Callable[..., Mapping[str, Tensor]], rows: Mapping[str, Any], attempt: _Attempt) -> None:
        outputs = self.outputs = self.ranks.outputs()
        with self.ranks.together():
            shares = loss(**rows) if rows else {}
        if not isinstance(shares, Mapping):
            raise PluginError(
                "the loss gave no named shares", got=type(shares).__name__, expected="a mapping of names to tensors"
            )
        settled = outputs.settle(shares)
        if rows:
            attempt.add(settled, outputs)
        if self.ranks.any(not all(math.isfinite(share.value) for share in settled.values())):
            return  # all ranks are told before anybody moves
        parameters = self._parameters
        if self.diagnose:
            with self.clock.phase("other"):
                for name, moved in self.ranks.moved({name: share.moved for name, share in settled.items()}).items():
                    attempt.rest = attempt.rest or (name if moved else "")
                    if moved and name != attempt.rest:
                        attempt.add_separate(name, outputs.gradient(name, parameters))
        outputs.backward(parameters)

    def _merge(self, attempt: _Attempt) -> Update:
        update = Update()
        mine = (attempt.losses, attempt.moved, attempt.tokens, attempt.parts, attempt.logged.sums)
        for losses, moved, tokens, count, logged in self.ranks.gather(mine):
            update.logged.merge([logged])
            for name, value in losses.items():
                update.losses[name] = update.losses.get(name, 0.0) + value
                update.moved[name] = update.moved.get(name, False) or moved[name]
            update.tokens += tokens
            update.parts += count
        bad = {name: str(value) for name, value in update.losses.items() if not math.isfinite(value)}
        if bad:
            self.optimiser.clear()
            raise DivergedError(f"the loss is not finite at step {self.step}", got=bad)
        return update

    def _finish(self, update: Update, attempt: _Attempt | None) -> Update:
        """Sum over ranks, check, clip and step."""
        parameters = self._parameters
        if attempt is not None:
            if attempt.rest and len(update.losses) > 1:  # of this rank alone, before the ranks' gradients are summed
                attempt.separate[attempt.rest] = _rest([p.grad for p in parameters], attempt.separate)
            with self.clock.phase("forward_backward"):
                self.ranks.sum_gradients(parameters)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        with self.clock.phase("optimiser"):
            update.grad_norm = float(total_norm(gradients)) if gradients else 0.0
            if not math.isfinite(update.grad_norm):
                self.optimiser.clear()
                raise DivergedError(f"the gradient is not finite at step {self.step}", got=str(update.grad_norm))
            if 0 < self._max_grad_norm < update.grad_norm:
                scale = self._max_grad_norm / (update.grad_norm + 1e-6)  # as torch clips
                torch._foreach_mul_([own(gradient) for gradient in gradients], scale)
            self.optimiser.step(self.rate, peak=self.peak)
            self.optimiser.clear()
        if self.diagnose:
            self._separate_norms(update, attempt, parameters)
        return update

    def _separate_norms(self, update: Update, attempt: _Attempt | None, parameters: list[nn.Parameter]) -> None:
        """Note the norm of each share's gradient, and of what the others come to without it."""
        if attempt is None or len(update.losses) < 2:
            update.grad_norms = dict.fromkeys(update.moved, update.grad_norm)
            update.without = dict.fromkeys(update.moved, 0.0)
            return
        flats: dict[str, list[Tensor]] = {}
        for name in sorted(update.losses):
            gradient = attempt.separate.pop(name, [None] * len(parameters))
            flat = [
                torch.zeros_like(p) if slope is None else slope for p, slope in zip(parameters, gradient, strict=True)
            ]
            if self.ranks.world > 1:
                summed = [slope for slope in flat if is_divided(slope)]
                mine = [slope.reshape(-1) for slope in flat if not is_divided(slope)]
                flat = [*summed, self.ranks.sum(torch.cat(mine))] if mine else summed
            flats[name] = flat
        for name, flat in flats.items():
            update.grad_norms[name] = float(total_norm(flat))
            update.without[name] = _norm_of_sum([other for others, other in flats.items() if others != name])


def _norm_of_sum(gradients: Sequence[Sequence[Tensor]]) -> float:
    """Return the norm of the sum of several gradients, one weight after the other: no sum is held as a whole."""
    sums = (functools.reduce(torch.add, slopes) for slopes in zip(*gradients, strict=True))
    norms = [whole(torch.linalg.vector_norm(slopes)) for slopes in sums]
    return float(torch.linalg.vector_norm(torch.stack(norms)))


def _rest(whole: Sequence[Tensor | None], separate: Mapping[str, Sequence[Tensor | None]]) -> list[Tensor | None]:
    """Return what is left of a gradient without those of some shares: a copy, to within its own rounding."""
    left = [None if slope is None else slope.clone() for slope in whole]
    for slopes in separate.values():
        for mine, slope in zip(left, slopes, strict=True):
            if mine is not None and slope is not None:
                mine.sub_(slope)
    return left
