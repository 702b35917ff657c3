"""Decoding for a run: as many rows at a time as memory holds, which changes no text."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import torch

from harness.errors import MachineError
from harness.lm.decode.beam import beam
from harness.lm.decode.sampling import Drawn, sample
from harness.training.budget import out_of_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.api import Batch, Completions
    from harness.lm.model.policy import Policy

Found = TypeVar("Found")


class Decode:
    """Draws and searches with one limit on the length, and one on the rows that is learnt."""

    def __init__(self, seed: int, max_new_tokens: int, *, suppress_stops: bool = False) -> None:
        """Decode at most ``max_new_tokens`` tokens, EOS included, with noise of ``seed``.

        ``suppress_stops`` leaves EOS out, so that it is always as many.
        """
        self._suppress_stops = suppress_stops
        self._seed = seed
        self.max_new_tokens = max_new_tokens
        self._most_rows: int | None = None

    def draw(
        self,
        model: Policy,
        batch: Batch,
        *,
        purpose: str,
        step: int,
        temperatures: Sequence[float],
        top_k: int = 0,
        top_p: float = 1.0,
    ) -> Drawn:
        """Draw one completion a temperature for each prompt."""
        return self._fitting(
            len(batch),
            len(temperatures),
            lambda most: sample(
                model,
                batch.prompts,
                batch.ids,
                temperatures=temperatures,
                seed=self._seed,
                purpose=purpose,
                step=step,
                max_new_tokens=self.max_new_tokens,
                top_k=top_k,
                top_p=top_p,
                max_rows=most,
                suppress_stops=self._suppress_stops,
            ),
        )

    def search(self, model: Policy, batch: Batch, *, beams: int, groups: int, diversity_penalty: float) -> Completions:
        """Search for ``beams`` completions of each prompt."""
        return self._fitting(
            len(batch),
            beams,
            lambda most: beam(
                model,
                batch.prompts,
                beams=beams,
                groups=groups,
                diversity_penalty=diversity_penalty,
                max_new_tokens=self.max_new_tokens,
                max_rows=most,
                suppress_stops=self._suppress_stops,
            ),
        )

    def _fitting(self, prompts: int, group: int, decode: Callable[[int | None], Found]) -> Found:
        """Call ``decode`` with fewer rows at a time until they fit; the limit stays for the next call."""
        while True:
            try:
                return decode(self._most_rows)
            except Exception as error:
                if not out_of_memory(error):
                    raise
            rows = prompts * group if self._most_rows is None else min(prompts * group, self._most_rows)
            if rows <= group:
                raise MachineError(
                    "out of memory while decoding for a single prompt",
                    got=f"{group} completions of up to {self.max_new_tokens} tokens",
                    hint="shorten max_completion_length (or generate_length), or draw fewer candidates",
                )
            self._most_rows = max(group, rows // 2)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
