"""Asking a model about a share of the prompts, where asking about all of them would cost more than it tells."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.api import Sample


def of_share(samples: Sequence[Sample], share: float) -> list[Sample]:
    """Return the samples of about so large a share of the prompts, all of their draws; ``share`` in (0, 1].

    A prompt is asked about or not by its id alone, so that all rows are asked about the same ones, and a smaller share
    is a part of a larger one.
    """
    return [sample for sample in samples if _place(sample.id) < share]


def among_all(values: Sequence[float | None], asked: Sequence[Sample], samples: Sequence[Sample]) -> list[float | None]:
    """Return ``values``, one of each sample that was asked about, as one of every sample: None for the others."""
    chosen, found = {sample.id for sample in asked}, iter(values)
    return [next(found) if sample.id in chosen else None for sample in samples]


def _place(id_: str) -> float:
    """Return a number in [0, 1) for an id, evenly spread."""
    return int.from_bytes(hashlib.sha256(f"share|{id_}".encode()).digest()[:6]) / 2**48
