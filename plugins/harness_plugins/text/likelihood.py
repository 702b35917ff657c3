"""From negative log-likelihoods and token counts to values a token and over a list."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from harness.api import StageError

if TYPE_CHECKING:
    from collections.abc import Iterable


def per_token(nll: float, tokens: int, *, where: str) -> float | None:
    """Return nats a token, None where there is no token.

    Raises:
        StageError: The likelihood is NaN or infinite, which no table may hide; ``where`` names metric and example.
    """
    if not math.isfinite(nll):
        raise StageError("the negative log-likelihood is not finite", where=where, got=str(nll))
    return nll / tokens if tokens else None


def over_all(pairs: Iterable[tuple[float, int]]) -> float | None:
    """Return nats a token over a list of (nats, tokens), so that every token weighs the same; None without a token."""
    nats, counts = [], 0
    for nll, tokens in pairs:
        if tokens:
            nats.append(nll)
            counts += tokens
    # fsum: the order of the answers does not change the sum
    return math.fsum(nats) / counts if counts else None


def perplexity(mean: float, *, where: str) -> float:
    """Return e to the power of a mean in nats a token.

    Raises:
        StageError: The number is beyond the largest float.
    """
    try:
        return math.exp(mean)
    except OverflowError:
        raise StageError("the perplexity is beyond the largest number", where=where, got=f"exp({mean:.1f})") from None
