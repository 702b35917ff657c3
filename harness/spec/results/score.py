"""What ``score`` stages leave behind."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, TypeAlias

from pydantic import Field

from harness.spec.results.base import ResultPart, ResultFile, ResultLine

#: The largest size of a value: what tables reckon with it, in squares and sums, is a number then.
LARGEST: Final = 1e38
Value: TypeAlias = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]


class AnswerValues(ResultLine):
    """What a metric says of one answer; a column without a value is left out."""

    file: ClassVar[str] = "values.jsonl"

    id: str
    draw: int
    values: dict[str, Value]


class ScoreMeans(ResultFile):
    """Each example's mean over its draws: what reports read instead of every value."""

    file: ClassVar[str] = "means.json"

    ids: list[str]
    columns: dict[str, list[Value | None]]
    """By position; None where no draw has a value."""


class ColumnSummary(ResultPart):
    """One column over all answers."""

    present: int
    missing: int
    mean: Value | None = None
    """None where no answer has a value."""


class CutTexts(ResultPart):
    """Of the texts that a model read for a metric, each once for every draw."""

    texts: int = 0
    cut: int = 0
    """Cut at their end."""
    prompts_cut: int = 0
    """Behind a prompt that was cut."""


class ScoreSummary(ResultFile):
    """What a metric says of all answers."""

    file: ClassVar[str] = "metrics.json"

    metric: str
    signature: str
    corpus: dict[str, Value]
    columns: dict[str, ColumnSummary]
    notes: dict[str, int] = {}
    """What must be known of some answers, to how many."""
    cut: CutTexts = CutTexts()

    def of(self, column: str) -> float | None:
        """Return a column's mean, or its number for all answers at once."""
        found = self.columns.get(column)
        return self.corpus.get(column) if found is None or found.mean is None else found.mean
