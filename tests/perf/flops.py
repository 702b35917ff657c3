"""Floating-point operations that a step's matrix products need, and how fast this machine multiplies matrices."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

if TYPE_CHECKING:
    from harness.training.loop import Segment


class Counted(NamedTuple):
    """Operations of one forward and backward: three times the forward, real tokens alone."""

    whole: int
    without_attention: int


def matrix_peak(size: int = 1024, repeats: int = 8) -> float:
    """Return operations a second of a float32 product of two square matrices: the best of a few."""
    one, other = torch.ones(size, size), torch.ones(size, size)
    out = torch.empty(size, size)
    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        torch.mm(one, other, out=out)
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


class Count:
    """Counts what the log-probs that a loss asks for cost, while a step is taken.

    A row of n tokens under a mask costs products of n x n in each layer's attention, whatever the mask lets through;
    padding is not counted, and the backward pass as two forwards.
    """

    def __init__(self, segment: Segment) -> None:
        """Listen to the segment's services."""
        config: Any = segment.policy.model.config
        self._width, self._layers = config.hidden_size, config.num_hidden_layers
        self._vocabulary = segment.policy.vocab_size
        self._whole = self._attention = 0
        services: Any = segment.services
        asked = services.logprobs

        def logprobs(batch: Any, completions: Any, **options: Any) -> Any:
            self._add(batch.prompts.lengths, completions.lengths)
            return asked(batch, completions, **options)

        services.logprobs = logprobs

    def take(self) -> Counted:
        """Return what was counted since the last call."""
        found = Counted(self._whole, self._whole - self._attention)
        self._whole = self._attention = 0
        return found

    def _add(self, prompts: torch.Tensor, completions: torch.Tensor) -> None:
        rows = (prompts + (completions - 1).clamp(min=0).sum(1)).tolist()
        attention = sum(4 * self._width * n * n for n in rows) * self._layers
        linear = 24 * self._width**2 * sum(rows) * self._layers
        logits = 2 * self._width * self._vocabulary * int(completions.sum())
        self._attention += 3 * attention
        self._whole += 3 * (attention + linear + logits)
