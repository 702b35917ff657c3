"""Means that a method logs while a step is taken, as numerators and denominators until all parts are known."""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING, Any

import torch

from harness.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class LoggedMeans:
    """Sums by name: of one part of a loss, of a step outside of losses, or of several of these together."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.sums: dict[str, tuple[float, float]] = {}

    def add(self, name: str, numerator: Any, denominator: Any) -> None:
        """Add to a name's numerator and denominator; of a tensor the sum of its elements.

        Raises:
            PluginError: a name is not text, or one of the two is not made of numbers.
        """
        if not isinstance(name, str) or not name:
            raise PluginError("run.log() was given no name", got=repr(name), expected="text")
        self._take(name, _sum(name, numerator), _sum(name, denominator))

    def merge(self, others: Iterable[Mapping[str, tuple[float, float]]]) -> None:
        """Add what others hold in their :attr:`sums`."""
        for other in others:
            for name, (above, below) in other.items():
                self._take(name, above, below)

    def means(self) -> dict[str, float]:
        """Return the mean of each name; one whose denominators come to 0 has none."""
        return {name: above / below for name, (above, below) in sorted(self.sums.items()) if below}

    def _take(self, name: str, above: float, below: float) -> None:
        before = self.sums.get(name, (0.0, 0.0))
        self.sums[name] = (before[0] + above, before[1] + below)


def _sum(name: str, value: Any) -> float:
    if isinstance(value, torch.Tensor):
        return float(value.detach().double().sum())
    if isinstance(value, numbers.Real):
        return float(value)
    raise PluginError(
        f"run.log() was given what is not a number under {name!r}", got=type(value).__name__, expected="numbers"
    )
