"""What a stage leaves behind that scored texts with a reward model."""

from __future__ import annotations

from typing import ClassVar, Literal

from harness.spec.results.base import ResultFile, ResultLine


class RewardStatistics(ResultFile):
    """What normalises a reward model's scores."""

    file: ClassVar[str] = "summary.json"

    normalise: Literal["none", "shift", "zscore"]
    mean: float
    sd: float
    """n - 1 in the denominator."""
    n: int
    model: str
    """Id of the stage with its weights."""
    parameters: int
    bytes: int


class PairScores(ResultLine):
    """Raw scores of a held-out pair."""

    file: ClassVar[str] = "pairs.jsonl"

    id: str
    chosen: float
    rejected: float
    chosen_tokens: int
    """In the reward model's own tokens, EOS apart."""
    rejected_tokens: int
