"""Means over all parts of a batch and all ranks, for what a step logs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from harness.api import Run


class Mean:
    """Gathers values inside the function given to ``Run.update``, part by part, each prompt at its place.

    A part that is evaluated again (to measure the norm of each term) overwrites what it said before.
    """

    def __init__(self, places: Tensor) -> None:
        """Start empty, with ``places`` (B,) int64 from 0 to B - 1: pass them through ``update`` with the rows."""
        self._sums = torch.zeros(len(places), dtype=torch.float64, device=places.device)
        self._counts = torch.zeros_like(self._sums)

    def put(self, places: Tensor, values: Tensor, counted: Tensor) -> None:
        """Take the ``values`` (b, ...) of the prompts at ``places`` (b,) where ``counted`` (b, ...) is true."""
        kept = torch.where(counted, values.detach().double(), 0.0)
        self._sums[places] = kept.flatten(1).sum(1)
        self._counts[places] = counted.flatten(1).sum(1).double()

    def value(self, run: Run) -> float:
        """Return the mean over all ranks, 0 of nothing. Every rank must call this."""
        return float(run.total(self._sums.sum()) / run.total(self._counts.sum()).clamp(min=1))


class Means:
    """Several named means, as :class:`Mean` gathers one."""

    def __init__(self, places: Tensor, names: Sequence[str]) -> None:
        """Start empty, with ``places`` (B,) int64 from 0 to B - 1; a rank without rows knows the names all the same."""
        self._names = list(names)
        self._sums = torch.zeros(len(places), 2, len(names), dtype=torch.float64, device=places.device)

    def put(self, places: Tensor, counted: Tensor, **values: Tensor) -> None:
        """Take the ``values`` (b, ...) of the prompts at ``places`` (b,) where ``counted`` (b, ...) is true."""
        for name, value in values.items():
            kept = torch.where(counted, value.detach().double(), 0.0)
            number = self._names.index(name)
            self._sums[places, 0, number] = kept.flatten(1).sum(1)
            self._sums[places, 1, number] = counted.flatten(1).sum(1).double()

    def values(self, run: Run) -> dict[str, float]:
        """Return the means over all ranks, 0 of nothing. Every rank must call this."""
        sums, counts = run.total(self._sums.sum(0))
        means: list[float] = (sums / counts.clamp(min=1)).tolist()
        return dict(zip(self._names, means, strict=True))
