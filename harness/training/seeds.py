"""Seeds from coordinates: every random number of training is a function of (seed, purpose, step, …)."""

from __future__ import annotations

from contextlib import contextmanager
from hashlib import blake2b
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator


def mix(*coordinates: int | str) -> int:
    """Return a 63-bit seed that depends on every coordinate, on their order and on where one ends."""
    text = "\x00".join(f"{type(part).__name__}:{part}" for part in coordinates)
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little") >> 1


def generator(*coordinates: int | str) -> torch.Generator:
    """Return a CPU generator seeded by the coordinates."""
    return torch.Generator().manual_seed(mix(*coordinates))


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed torch's global generators for one step: dropout, and whatever a plugin draws without a generator.

    This is the only place of the harness that does so. Ranks have their own numbers, because they hold other rows.
    """
    torch.manual_seed(mix("step", seed, step, rank))  # noqa: TID251  # (seed, step, rank) determine it


@contextmanager
def own_generators(device: torch.device) -> Iterator[None]:
    """Give back torch's global generators as they were, whatever happens inside."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield
