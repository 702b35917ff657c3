"""From named shares of a loss to gradients: what each share did is known exactly, and costs next to nothing.

What a run hands to a loss (log-probs, hidden states, logits) are fresh leaves over the model's outputs. So the loss's
own graph ends at them: it is a few small nodes, and its gradient can be taken for every share by itself. One backward
through the model then takes the sum of the shares. Parameters that a loss uses directly (a value head, a forward of its
own) are found in its graph and get their gradient there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from harness.errors import PluginError
from harness.training.logged import LoggedMeans

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor, nn


@dataclass(frozen=True)
class Share:
    """One named share of one part's loss."""

    value: float
    moved: bool
    """Whether its gradient with respect to anything that is trained, or was computed from it, is not exactly zero."""


class Outputs:
    """What one call of a loss was given, and the gradients that come back."""

    def __init__(self) -> None:
        """Start with nothing handed out."""
        self._made: list[Tensor] = []
        self._given: list[Tensor] = []
        self._slopes: dict[str, list[Tensor | None]] = {}
        self._direct: dict[str, dict[int, Tensor]] = {}
        self.tokens = 0
        self.logged = LoggedMeans()

    def hand_out(self, output: Tensor, kind: str = "values") -> Tensor:  # noqa: ARG002  # for who shares weights
        """Return a leaf with the values of ``output``, a model's, or ``output`` itself if it has no gradient.

        ``kind`` tells what a model gave at once apart: its ``values``, ``hidden`` states, ``logits``, or ``states``.
        """
        if not output.requires_grad:
            return output
        given = output.detach().requires_grad_()
        self._made.append(output)
        self._given.append(given)
        return given

    def settle(self, shares: Mapping[str, Tensor | float]) -> dict[str, Share]:
        """Take each share's gradient with respect to what was handed out and to parameters it uses directly.

        Raises:
            PluginError: a share is not a number.
        """
        number = {id(given): place for place, given in enumerate(self._given)}
        settled = {}
        for name, share in shares.items():
            scalar = _scalar(name, share)
            moved = False
            if scalar.requires_grad:
                leaves = _leaves(scalar)
                # the graph stays: another share may have a part of it in common
                slopes = torch.autograd.grad(scalar, leaves, retain_graph=True)
                by_output: list[Tensor | None] = [None] * len(self._given)
                direct: dict[int, Tensor] = {}
                for leaf, slope in zip(leaves, slopes, strict=True):
                    moved = moved or bool(slope.any())
                    if id(leaf) in number:
                        by_output[number[id(leaf)]] = slope
                    else:
                        direct[id(leaf)] = slope
                self._slopes[name] = by_output
                self._direct[name] = direct
            settled[name] = Share(float(scalar.detach()), moved)
        return settled

    def backward(self, parameters: Sequence[nn.Parameter]) -> None:
        """Add the gradient of the sum of all shares to the parameters'."""
        for name in self._direct:
            self._add_direct(name, parameters)
        sums: list[Tensor | None] = [None] * len(self._made)
        for slopes in self._slopes.values():
            for place, slope in enumerate(slopes):
                before = sums[place]
                if slope is not None:
                    sums[place] = slope if before is None else before + slope
        self._walk(sums)

    def _add_direct(self, name: str, parameters: Sequence[nn.Parameter]) -> None:
        """Add the gradient of a share at parameters that it uses directly."""
        direct = self._direct.get(name, {})
        for parameter in parameters:
            slope = direct.get(id(parameter))
            if slope is not None:
                parameter.grad = slope.clone() if parameter.grad is None else parameter.grad + slope

    def _walk(self, slopes: Sequence[Tensor | None]) -> None:
        """Walk back from what was made, by the slope of each output that has one."""
        reached = [(output, slope) for output, slope in zip(self._made, slopes, strict=True) if slope is not None]
        if reached:
            torch.autograd.backward([output for output, _ in reached], [slope for _, slope in reached])

    def gradient(self, name: str, parameters: Sequence[nn.Parameter]) -> list[Tensor | None]:
        """Return one share's gradient by a backward of its own; to be called before :meth:`backward`."""
        if name not in self._slopes:
            return [None] * len(parameters)
        reached = [(output, s) for output, s in zip(self._made, self._slopes[name], strict=True) if s is not None]
        slopes: Sequence[Tensor | None] = [None] * len(parameters)
        if reached:
            slopes = torch.autograd.grad(
                [output for output, _ in reached],
                parameters,
                [slope for _, slope in reached],
                retain_graph=True,
                allow_unused=True,
            )
        direct = self._direct[name]
        return [_add(slope, direct.get(id(p))) for p, slope in zip(parameters, slopes, strict=True)]


def _add(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other


def _scalar(name: str, share: Tensor | float) -> Tensor:
    if isinstance(share, (int, float)):
        return torch.tensor(float(share), dtype=torch.float64)
    if not isinstance(share, torch.Tensor) or share.numel() != 1:
        got = list(share.shape) if isinstance(share, torch.Tensor) else type(share).__name__
        raise PluginError(f"the loss gave a share {name!r} that is not a number", got=got, expected="a scalar tensor")
    return share


def _leaves(scalar: Tensor) -> list[Tensor]:
    """Return the tensors at which the graph of ``scalar`` ends: those given out, and parameters used directly."""
    if scalar.grad_fn is None:
        return [scalar]
    seen = {scalar.grad_fn}
    waiting = [scalar.grad_fn]
    leaves = []
    while waiting:
        node = waiting.pop()
        if hasattr(node, "variable"):
            leaves.append(node.variable)
        for child, _ in node.next_functions:
            if child is not None and child not in seen:
                seen.add(child)
                waiting.append(child)
    return leaves
