"""What a stage leaves behind that computed reference log-probs."""

from __future__ import annotations

from typing import ClassVar

from harness.spec.results.base import ResultFile, ResultPart


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
