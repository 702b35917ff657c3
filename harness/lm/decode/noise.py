"""Counter-based noise: a token's draw depends on seed, purpose, step, example id, candidate and position alone.

Every number is a hash of these, so a text does not depend on batch size, padding, row order or process. The hash is
SplitMix64's output function (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators"), chained
over candidate, position and lane; the first key is BLAKE2b of the rest.

A categorical draw is an exponential race: with independent E_i ~ Exp(1) the index of the largest w_i / E_i has
probability w_i / sum(w), exactly. It is run in two levels of about sqrt(V) lanes each: first between blocks of the
vocabulary, by their total weights, then inside the block that won. That needs 2 sqrt(V) instead of V numbers a token.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import torch

from harness.lm.cuda.sizes import NOISE_AHEAD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def _signed(value: int) -> int:
    """The int64 with the same 64 bits: torch has no arithmetic for unsigned ones."""
    return value - (1 << 64) if value >= 1 << 63 else value


_GOLDEN: Final = _signed(0x9E3779B97F4A7C15)
_FIRST: Final = _signed(0xBF58476D1CE4E5B9)
_SECOND: Final = _signed(0x94D049BB133111EB)
#: 52 bits and a half: every uniform is strictly inside (0, 1) and exact in float64.
_BITS: Final = 52


@dataclass(frozen=True)
class Noise:
    """What, beside the example and the position, the noise of a draw is a function of."""

    seed: int
    """Of the run."""
    purpose: str
    """What the draws are for."""
    step: int = 0
    """The optimiser step, or 0."""
    candidates: tuple[int, ...] | None = None
    """The number of each completion of a prompt; 0, 1, … unless given."""


def row_keys(noise: Noise, ids: Sequence[str], candidates: Sequence[int], device: torch.device) -> Tensor:
    """Return a 64-bit key for every example and candidate: (len(ids), len(candidates)) int64."""
    head = f"{noise.seed}\x00{noise.purpose}\x00{noise.step}\x00".encode()
    bases = [
        int.from_bytes(blake2b(head + name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
        for name in ids
    ]
    base = torch.tensor([_signed(value) for value in bases], dtype=torch.int64, device=device)
    return _mix(_child(base, torch.tensor(candidates, dtype=torch.int64, device=device)))


def noise_digest(noises: Sequence[Noise]) -> str:
    """Return 16 hex digits that tell random numbers apart whatever the prompts: of a nameless row's keys."""
    keys = [str(int(row_keys(noise, [""], [0], torch.device("cpu")))) for noise in noises]
    return blake2b(" ".join(keys).encode(), digest_size=8).hexdigest()


def exponentials(keys: Tensor, first: int, positions: int, lanes: int) -> Tensor:
    """Return Exp(1) noise for some positions of some rows.

    Args:
        keys: (N,) int64, from :func:`row_keys`.
        first: the first position.
        positions: how many positions.
        lanes: how many numbers a position.

    Returns:
        (positions, N, lanes) float64, every number above 0.
    """
    places = torch.arange(first, first + positions, device=keys.device)
    at = _mix(_child(keys, places)).t().contiguous()
    bits = _mix(_child(at, torch.arange(lanes, device=keys.device)))
    bits.bitwise_right_shift_(64 - _BITS).bitwise_and_((1 << _BITS) - 1)
    return bits.double().add_(0.5).mul_(2.0**-_BITS).log_().neg_()


class Race:
    """The noise of a batch of rows, and the draws that use it."""

    def __init__(self, keys: Tensor, vocabulary: int) -> None:
        """Prepare draws from ``vocabulary`` ids for the rows that have ``keys`` (N,)."""
        self._keys = keys
        self._vocabulary = vocabulary
        self._size = max(1, math.isqrt(vocabulary))
        self._blocks = -(-vocabulary // self._size)
        self._noise = torch.empty(0)
        self._span = range(0)

    def select(self, rows: Tensor) -> None:
        """Keep (or reorder) the rows that the index ``rows`` names."""
        self._keys = self._keys[rows]
        self._noise = self._noise[:, rows] if self._span else self._noise

    def draw(self, weights: Tensor, position: int, rows: slice = slice(None)) -> Tensor:
        """Draw an id in proportion to ``weights`` (M, V), which are finite and not negative: (M,) int64.

        They are those of the ``rows`` of the batch, all of them unless given.
        """
        between, inside = self._at(position)[rows].split_with_sizes((self._blocks, self._size), 1)
        whole = self._vocabulary // self._size  # blocks, without a last one that is shorter: to pad it is to copy all
        sums = weights[:, : whole * self._size].view(-1, whole, self._size).sum(-1)
        if whole < self._blocks:
            sums = torch.cat((sums, weights[:, whole * self._size :].sum(-1, keepdim=True)), 1)
        block = (sums / between).argmax(-1, keepdim=True)
        ids = block * self._size + torch.arange(self._size, device=block.device)
        there = ids < self._vocabulary
        chosen = weights.gather(1, ids.where(there, 0)).masked_fill(~there, 0.0)
        return block[:, 0] * self._size + (chosen / inside).argmax(-1)

    def _at(self, position: int) -> Tensor:
        if position not in self._span:
            lanes = self._blocks + self._size
            ahead = max(1, min(64, NOISE_AHEAD[self._keys.device.type] // max(1, len(self._keys) * lanes)))
            self._span = range(position, position + ahead)
            self._noise = exponentials(self._keys, position, ahead, lanes)
        return self._noise[position - self._span.start]


def _child(keys: Tensor, counters: Tensor) -> Tensor:
    """State number ``counter`` of the generator that each key starts: (*keys, *counters)."""
    return keys[..., None] + (counters + 1) * _GOLDEN


def _mix(state: Tensor) -> Tensor:
    """SplitMix64's output function, in place. ``>>`` on int64 copies the sign, which the masks take away."""
    state ^= (state >> 30) & ((1 << 34) - 1)
    state *= _FIRST
    state ^= (state >> 27) & ((1 << 37) - 1)
    state *= _SECOND
    state ^= (state >> 31) & ((1 << 33) - 1)
    return state
