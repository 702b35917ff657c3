"""Floating-point operations that a step's matrix products need, and how fast this machine multiplies matrices."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from harness.lm.score.trees import Tree

if TYPE_CHECKING:
    from harness.training.loop import Segment


class Counted(NamedTuple):
    """Operations of one forward and backward: three times the forward, real tokens alone."""

    whole: int
    without_attention: int
    decoded: int
    """Of drawing answers, prompts included; forwards alone."""


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

    Attention's products in each layer are half of n x n for what is plainly causal, whose other half is computed in
    vain if it is, and n x (prompt + n) for each completion of several.

    There is no padding; the backward pass counts as two forwards.
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
        self._decoded = 0
        draws = services.sample

        def sample(batch: Any, *temperatures: Any, **options: Any) -> Any:
            found = draws(batch, *temperatures, **options)
            self._decoded += self._drawn(batch.prompts.lengths.tolist(), found.lengths.tolist())
            return found

        services.sample = sample

    def take(self) -> Counted:
        """Return what was counted since the last call."""
        found = Counted(self._whole, self._whole - self._attention, self._decoded)
        self._whole = self._attention = self._decoded = 0
        return found

    def _drawn(self, prompts: list[int], groups: list[list[int]]) -> int:
        """Count one prefill a prompt, and a step for every token but the last of each row."""
        token = 24 * self._width**2 * self._layers
        logits, pair = 2 * self._width * self._vocabulary, 4 * self._width * self._layers
        total = 0
        for prompt, lengths in zip(prompts, groups, strict=True):
            total += prompt * token + logits + pair * prompt**2 // 2
            for steps in (length - 1 for length in lengths):
                total += steps * (token + logits) + pair * (steps * prompt + steps * (steps + 1) // 2)
        return total

    def _add(self, prompts: torch.Tensor, completions: torch.Tensor) -> None:
        inner = (completions - 1).clamp(min=0).tolist()
        trees = [
            Tree(prompt, tuple(size for size in sizes if size))
            for prompt, sizes in zip(prompts.tolist(), inner, strict=True)
        ]
        attention = 4 * self._width * self._layers * sum(map(_pairs, trees))
        linear = 24 * self._width**2 * sum(tree.tokens for tree in trees) * self._layers
        logits = 2 * self._width * self._vocabulary * int(completions.sum())
        self._attention += 3 * int(attention)
        self._whole += 3 * int(attention + linear + logits)


def _pairs(tree: Tree) -> float:
    """Return of how many pairs of tokens attention makes a product in a layer."""
    if len(tree.completions) < 2:
        return tree.tokens**2 / 2
    return tree.prompt**2 / 2 + sum(size * (tree.prompt + size) for size in tree.completions)
