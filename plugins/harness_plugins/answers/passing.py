"""pass@k: how likely one of k answers to a prompt is right."""

from __future__ import annotations

import math


def pass_at_k(answers: int, right: int, k: int) -> float | None:
    """Return the unbiased estimate of pass@k from n answers of which c are right; None with fewer than k answers.

    1 - C(n - c, k) / C(n, k): the chance that k of the n, drawn without replacement, hold a right one (Chen et al.
    2021, arXiv:2107.03374, Eq. 1). In whole numbers up to the division, so that no product of small factors rounds.
    """
    if not 0 <= right <= answers:
        message = f"{right} of {answers} answers cannot be right"
        raise ValueError(message)
    if k > answers:
        return None
    every = math.comb(answers, k)
    return (every - math.comb(answers - right, k)) / every
