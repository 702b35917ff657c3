"""Gaussian noise over all weights, made again from its seed whenever it is needed."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from harness.training.seeds import generator

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from torch import Tensor, nn


def noise(parameters: Iterable[nn.Parameter], *coordinates: int | str) -> Iterator[Tensor]:
    """Return standard normal noise of each parameter's shape.

    One stream runs through all parameters (a stream for each from the same seed would correlate them), on the CPU, so
    that the noise is the same on every device.
    """
    source = generator("noise", *coordinates)
    for parameter in parameters:
        yield torch.randn(parameter.shape, generator=source, dtype=parameter.dtype).to(parameter.device)


@contextmanager
def perturbed(parameters: Sequence[nn.Parameter], scale: float, *coordinates: int | str) -> Iterator[None]:
    """Add ``scale`` times noise to the weights; afterwards they are bit for bit what they were.

    A copy is put back: adding and subtracting the same noise would leave rounding behind.
    """
    kept = [parameter.detach().clone() for parameter in parameters]
    try:
        with torch.no_grad():
            for parameter, offset in zip(parameters, noise(parameters, *coordinates), strict=True):
                parameter.add_(offset, alpha=scale)
        yield
    finally:
        with torch.no_grad():
            for parameter, before in zip(parameters, kept, strict=True):
                parameter.copy_(before)


def weighted_sum(parameters: Sequence[nn.Parameter], weights: Iterable[tuple[float, tuple[int | str, ...]]]) -> None:
    """Set each gradient to the sum of weight x noise over ``(weight, coordinates)`` pairs.

    Weights of the same noise are added first: an antithetic pair costs its noise once, and one whose two sides are
    equally good leaves nothing behind.
    """
    totals: dict[tuple[int | str, ...], float] = {}
    for weight, coordinates in weights:
        totals[coordinates] = totals.get(coordinates, 0.0) + weight
    sums = [torch.zeros_like(parameter) for parameter in parameters]
    for coordinates, weight in totals.items():
        if weight:
            for total, offset in zip(sums, noise(parameters, *coordinates), strict=True):
                total.add_(offset, alpha=weight)
    for parameter, total in zip(parameters, sums, strict=True):
        parameter.grad = total
