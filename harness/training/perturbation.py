"""Gaussian noise over the weights, full or of low rank, made again from its seed whenever it is needed."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch

from harness.errors import PluginError
from harness.training.seeds import generator

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from torch import Tensor, nn

#: Which weights are perturbed: those that are matrices (embeddings among them) alone, or every one.
Only: TypeAlias = Literal["all", "matrices"]


@dataclass(frozen=True)
class Noise:
    """One draw of noise for all weights.

    Entries have variance 1 and are uncorrelated. Of rank r, a matrix (m, n) gets ``A @ B.T / sqrt(r)`` with standard
    normal A (m, r) and B (n, r), arXiv:2511.16652, Eq. 8; as r grows that becomes full noise.
    """

    coordinates: tuple[int | str, ...]
    """What the random numbers are derived from."""
    rank: int | None = None
    """Of a matrix's noise; full where None."""
    only: Only = "all"

    def __post_init__(self) -> None:
        """Raise PluginError for a rank that is not one, or weights that have no such name."""
        if self.rank is not None and (type(self.rank) is not int or self.rank < 1):
            raise PluginError("noise has no such rank", got=repr(self.rank), expected="a whole number from 1, or None")
        if self.only not in ("all", "matrices"):
            raise PluginError("there are no such weights", got=repr(self.only), expected="'all' or 'matrices'")

    def add(self, parameters: Iterable[nn.Parameter], to: Iterable[Tensor], scale: float) -> None:
        """Add ``scale`` times the noise of each parameter to the tensor in its place.

        One stream runs through all parameters (a stream for each from the same seed would correlate them), on the CPU,
        so that the noise is the same on every device.
        """
        source = generator("noise", *self.coordinates)
        for parameter, total in zip(parameters, to, strict=True):
            if parameter.dim() != 2 and self.only == "matrices":
                continue
            if self.rank is None or parameter.dim() != 2:
                total.add_(_drawn(source, parameter, parameter.shape), alpha=scale)
            else:
                rows, columns = parameter.shape
                left = _drawn(source, parameter, (rows, self.rank))
                right = _drawn(source, parameter, (columns, self.rank))
                total.addmm_(left, right.t(), alpha=scale / math.sqrt(self.rank))


@contextmanager
def perturbed(parameters: Sequence[nn.Parameter], scale: float, noise: Noise) -> Iterator[None]:
    """Add ``scale`` times noise to the weights; afterwards they are bit for bit what they were.

    A copy is put back: adding and subtracting the same noise would leave rounding behind.
    """
    kept = [parameter.detach().clone() for parameter in parameters]
    try:
        with torch.no_grad():
            noise.add(parameters, parameters, scale)
        yield
    finally:
        with torch.no_grad():
            for parameter, before in zip(parameters, kept, strict=True):
                parameter.copy_(before)


def weighted_sum(parameters: Sequence[nn.Parameter], weights: Iterable[tuple[float, Noise]]) -> None:
    """Set each gradient to the sum of weight x noise over ``(weight, noise)`` pairs; None where there is no noise.

    Weights of the same noise are added first: an antithetic pair costs its noise once, and one whose two sides are
    equally good leaves nothing behind.
    """
    totals: dict[Noise, float] = {}
    for weight, noise in weights:
        totals[noise] = totals.get(noise, 0.0) + weight
    sums = [torch.zeros_like(parameter) for parameter in parameters]
    with torch.no_grad():
        for noise, weight in totals.items():
            if weight:
                noise.add(parameters, sums, weight)
    matrices = bool(totals) and all(noise.only == "matrices" for noise in totals)
    for parameter, total in zip(parameters, sums, strict=True):
        parameter.grad = None if matrices and parameter.dim() != 2 else total


def _drawn(source: torch.Generator, parameter: Tensor, shape: Sequence[int]) -> Tensor:
    return torch.randn(tuple(shape), generator=source, dtype=parameter.dtype).to(parameter.device)
