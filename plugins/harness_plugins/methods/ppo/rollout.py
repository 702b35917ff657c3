"""What PPO keeps of the answers of one step: which tokens count, what was thought of them, what they turned out to be.

B prompts, K answers, T places. A place is a token of an answer or, under ``compat.end_state``, the state behind its
EOS.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch

from harness.api import Completions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


@dataclass(frozen=True)
class Rollout:
    """All (B, K, T), float64 or bool; 0 where masked."""

    logp: Tensor
    """Log-prob of each token when it was sampled."""
    values: Tensor
    """Value of the state before each token when it was sampled."""
    advantages: Tensor
    """Whitened."""
    returns: Tensor
    actions: Tensor
    """Tokens that the policy is trained on."""
    states: Tensor
    """Places whose value the critic is trained on."""

    def __len__(self) -> int:
        """Return B."""
        return len(self.logp)

    def __getitem__(self, rows: slice | Tensor | Sequence[int]) -> Rollout:
        """Return that of some prompts."""
        index = rows if isinstance(rows, (slice, torch.Tensor)) else torch.tensor(rows, dtype=torch.int64)
        return Rollout(**{field.name: getattr(self, field.name)[index] for field in fields(self)})


def without(samples: Completions, present: Tensor) -> Completions:
    """Return the samples with those that are not ``present`` (B, K) made absent, as if they had never been drawn."""
    return Completions(samples.ids, samples.lengths * present, samples.finished & present)


def with_end_state(samples: Completions, eos_id: int) -> Completions:
    """Return the samples with one more place behind each that ended, before which the state after its EOS stands."""
    ids = torch.nn.functional.pad(samples.ids, (0, 1), value=eos_id)
    ids = ids.scatter(2, samples.lengths[..., None], eos_id)
    return Completions(ids, samples.lengths + samples.finished, samples.finished)


def actions(samples: Completions, width: int, *, include_eos: bool) -> Tensor:
    """Return (B, K, ``width``) bool: the tokens that the policy is trained on."""
    lengths = samples.lengths if include_eos else samples.answer_lengths
    return torch.arange(width, device=lengths.device) < lengths[..., None]


def value_head(width: int, init: str, generator: torch.Generator) -> torch.nn.Linear:
    """Return what makes one value of a state of ``width`` numbers: zeros, or N(0, 1 / (width + 1)) without a bias."""
    head = torch.nn.Linear(width, 1, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        head.bias.zero_()
        if init == "zero":
            head.weight.zero_()
        else:
            head.weight.normal_(std=(width + 1) ** -0.5, generator=generator)
    return head
