"""Random choices that depend on nothing but their key: not on the Python version, the platform or earlier choices."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")

_WORD = (1 << 64) - 1


def mix(state: int) -> int:
    """Scramble 64 bits (the output function of SplitMix64, Steele, Lea and Flood 2014)."""
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _WORD
    return state ^ (state >> 31)


def seed_of(*key: str | int) -> int:
    """Return 64 bits that the key determines."""
    return int.from_bytes(blake2b(repr(key).encode(), digest_size=8).digest(), "big")


class Draw:
    """A stream of choices: SplitMix64 started at a key's hash."""

    __slots__ = ("_state",)

    def __init__(self, state: int) -> None:
        self._state = state

    def below(self, bound: int) -> int:
        """Return an integer in [0, bound)."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _WORD
        return (mix(self._state) * bound) >> 64

    def pick(self, choices: Sequence[T]) -> T:
        """Return one choice, all equally likely."""
        return choices[self.below(len(choices))]

    def weighted(self, choices: Sequence[T], weights: Sequence[int]) -> T:
        """Return one choice with probability weight / sum of the weights."""
        rest = self.below(sum(weights))
        for choice, weight in zip(choices, weights, strict=True):
            rest -= weight
            if rest < 0:
                return choice
        raise AssertionError  # the rest is below the sum of the weights

    def several(self, choices: Sequence[T], weights: Sequence[int], count: int) -> list[T]:
        """Return ``count`` different choices, drawn one after the other by weight, in that order."""
        left = list(zip(choices, weights, strict=True))
        taken = []
        for _ in range(count):
            place = self.weighted(range(len(left)), [weight for _, weight in left])
            taken.append(left.pop(place)[0])
        return taken
