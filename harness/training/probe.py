"""How far the policy has moved from where its segment started, on a few demonstrations that stay the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from harness.in_parts import Batcher
from harness.lm.score.logprobs import score_logits
from harness.text.encode import collate
from harness.training.budget import HINT, row_tokens, take_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from harness.api import Batch
    from harness.lm.model.policy import Policy
    from harness.text.encode import EncodedRow

#: Demonstrations on the probe, at most.
ROWS = 8
#: Log-probs of the start that are kept, in numbers: 64 MB of float32.
NUMBERS = 1 << 24


class Probe:
    """The distributions of the start over the next token at every position of a few demonstrations."""

    def __init__(self, policy: Policy, batch: Batch) -> None:
        """Measure ``policy`` on the demonstrations of ``batch``."""
        self._batch = batch
        self.batcher = Batcher(doing="comparing the policy with its start", hint=HINT)
        self._start = self._measure(policy)

    @classmethod
    def of(cls, policy: Policy, rows: Sequence[EncodedRow]) -> Probe | None:
        """Measure ``policy`` on the demonstrations of as many rows as may be kept; None where none has one."""
        lengths = [0 if row.demonstration is None else len(row.demonstration.ids) for row in rows]
        places = fitting(lengths, policy.vocab_size)
        return cls(policy, collate([rows[place] for place in places], policy.device)) if places else None

    def compare(self, policy: Policy) -> tuple[float, float]:
        """Return KL(policy || start) and the policy's entropy, both in nats, means over the probe's positions.

        The KL is exact: the whole distribution at each position, not an estimate from samples.
        """
        now = self._measure(policy)
        weight = now.exp()
        possible = weight > 0  # an id that cannot occur adds nothing, and minus infinity less itself is not a number
        kl = torch.where(possible, weight * (now - self._start), 0.0).sum(-1)
        entropy = -torch.where(possible, weight * now, 0.0).sum(-1)
        return float(kl.mean()), float(entropy.mean())

    def _measure(self, policy: Policy) -> Tensor:
        rows: dict[str, Any] = {"prompts": self._batch.prompts, "completions": self._batch.demonstrations}

        def work(index: list[int]) -> list[Tensor]:
            part = take_all(rows, index)
            chunks = list(score_logits(policy, part["prompts"], part["completions"], dropout=False))
            values = torch.cat([chunk.values.log_softmax(-1) for chunk in chunks])
            owners = torch.cat([chunk.rows[:, 0] for chunk in chunks])
            return [values[owners == place] for place in range(len(index))]

        with torch.no_grad():
            return torch.cat(self.batcher.run(row_tokens(rows), work))


def fitting(lengths: Sequence[int], vocabulary: int) -> list[int]:
    """Return the places of the demonstrations to probe: in their order, as many as may be kept, none that is absent."""
    chosen: list[int] = []
    held = 0
    for place, length in enumerate(lengths):
        if length and len(chosen) < ROWS and (not chosen or (held + length) * vocabulary <= NUMBERS):
            chosen.append(place)
            held += length
    return chosen
