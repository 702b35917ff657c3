"""Which rows each step trains on: a closed form of (seed, epoch) and the rows' ids.

The rows of an epoch are sorted by a hash of (seed, epoch, id). So the order depends neither on how the rows were stored
nor on the method, and a segment of a schedule starts at any step without replaying what came before. The rows that do
not fill a last batch are left out of that epoch (others in each): every step has the same number of prompts, which
methods with batch statistics need, and every rank always has rows.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from harness.errors import InputError
from harness.training.seeds import mix

if TYPE_CHECKING:
    from collections.abc import Sequence


class Order:
    """The order of training rows."""

    def __init__(self, ids: Sequence[str], *, seed: int, batch_size: int) -> None:
        """Order rows that have ``ids``; ``batch_size`` prompts a step over all ranks.

        Raises:
            InputError: fewer rows than one batch.
        """
        if len(ids) < batch_size:
            raise InputError(
                "there are fewer training rows than one batch",
                got=len(ids),
                expected=f"at least recipe.batch_size = {batch_size}",
                hint="rows longer than max_prompt_length and max_completion_length were left out before",
            )
        self._ids = tuple(ids)
        self._seed = seed
        self.batch_size = batch_size
        self.steps_per_epoch = len(ids) // batch_size
        self._epoch = lru_cache(maxsize=2)(self._permutation)

    def epoch(self, step: int) -> int:
        """Return the epoch that a step belongs to."""
        return step // self.steps_per_epoch

    def batch(self, step: int) -> tuple[int, ...]:
        """Return the places of the rows of a step, as indices into ``ids``."""
        epoch, place = divmod(step, self.steps_per_epoch)
        return self._epoch(epoch)[place * self.batch_size : (place + 1) * self.batch_size]

    def chosen(self, purpose: str, count: int) -> tuple[int, ...]:
        """Return the places of ``count`` rows that the seed and ``purpose`` fix."""
        return self._sorted("chosen", purpose)[:count]

    def _permutation(self, epoch: int) -> tuple[int, ...]:
        return self._sorted("order", epoch)

    def _sorted(self, *purpose: int | str) -> tuple[int, ...]:
        key = [(mix(*purpose, self._seed, name), name) for name in self._ids]
        return tuple(sorted(range(len(key)), key=key.__getitem__))
