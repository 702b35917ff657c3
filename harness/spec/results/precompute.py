"""What ``precompute`` stages leave behind."""

from __future__ import annotations

from typing import ClassVar, Literal

from harness.spec.results.base import ResultPart, ResultFile, ResultLine


class PairRows(ResultPart):
    """Training rows that have no reference log-probs."""

    dropped_overlong: int
    without_pair: int


class ReferenceSummary(ResultFile):
    """What was computed under a reference model."""

    file: ClassVar[str] = "summary.json"

    pairs: int
    answers: int
    tokens: int
    seconds: float
    tokens_per_second: float
    weights_sha256: str
    """Of the reference model, before and after."""
    rows: PairRows
    peak_memory_bytes: int
    concurrent: bool


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
