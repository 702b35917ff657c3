"""N-grams of token sequences, and how many of them are distinct."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def ngrams(tokens: Sequence[str], order: int) -> Iterable[tuple[str, ...]]:
    """Yield the n-grams of one order, from the left; none where there are fewer tokens than ``order``."""
    return zip(*(tokens[start:] for start in range(order)), strict=False)  # the shifted copies end one after the other


def total_ngrams(tokens: int, order: int) -> int:
    """Return how many n-grams of one order a sequence of ``tokens`` tokens has."""
    return max(tokens - order + 1, 0)


def repeated_share(tokens: Sequence[str], order: int) -> float | None:
    """Return the share in [0, 1] of n-grams that have stood before in the sequence; None where it has no n-gram.

    One minus distinct over all n-grams: seq-rep-n of Welleck et al. 2020 (arXiv:1908.04319).
    """
    total = total_ngrams(len(tokens), order)
    return 1 - len(set(ngrams(tokens, order))) / total if total else None
