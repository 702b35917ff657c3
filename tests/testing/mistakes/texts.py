"""Good rewards and metrics, and others that make one mistake each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from harness.api import MetricResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.api import MetricServices, Sample


def good_reward(completions: Sequence[str], references: Sequence[Sequence[str]], **_: Any) -> list[float | None]:
    return [float(text in known) if known else None for text, known in zip(completions, references, strict=True)]


def not_finite(completions: Sequence[str], **_: Any) -> list[float]:
    """The logarithm of a length that may be 0."""
    return [math.log(len(text)) if text else -math.inf for text in completions]


def zero_without_reference(completions: Sequence[str], references: Sequence[Sequence[str]], **_: Any) -> list[float]:
    """0 where there is nothing to compare with."""
    return [float(text in known) for text, known in zip(completions, references, strict=True)]


def reads_a_column(completions: Sequence[str], **columns: Any) -> list[float]:
    """A column that is not declared."""
    return [float(text in known) for text, known in zip(completions, columns["references"], strict=True)]


class Good:
    """Words of an answer that the first reference has."""

    def __init__(self, options: Any) -> None: ...

    def score(self, samples: Sequence[Sample], services: MetricServices) -> MetricResult:
        values = self.values(samples, services)
        return MetricResult({"shared": values}, self.corpus(values), "shared|v1")

    def values(self, samples: Sequence[Sample], services: MetricServices) -> list[float | None]:
        return [self.value(sample) if sample.references else None for sample in samples]

    def value(self, sample: Sample) -> float:
        return float(len(set(sample.text.split()) & set(sample.references[0].split())))

    def corpus(self, values: Sequence[float | None]) -> dict[str, float]:
        present = [value for value in values if value is not None]
        return {"mean": math.fsum(present) / len(present)} if present else {}


class DropsSamples(Good):
    """Leaves out empty answers."""

    def values(self, samples: Sequence[Sample], services: MetricServices) -> list[float | None]:
        return super().values([sample for sample in samples if sample.text], services)


class Sorts(Good):
    """Gives the values in an order of its own."""

    def values(self, samples: Sequence[Sample], services: MetricServices) -> list[float | None]:
        return super().values(sorted(samples, key=lambda sample: sample.text), services)


class ZeroWithoutReference(Good):
    """0 where there is nothing to compare with."""

    def values(self, samples: Sequence[Sample], services: MetricServices) -> list[float | None]:
        return [self.value(sample) if sample.references else 0.0 for sample in samples]


class MeanWithZeros(Good):
    """A mean in which a missing value counts as 0."""

    def corpus(self, values: Sequence[float | None]) -> dict[str, float]:
        return {"mean": math.fsum(value or 0.0 for value in values) / len(values)} if values else {}


class Scaled(Good):
    """A length as a share of the largest of the list."""

    def value(self, sample: Sample) -> float:
        return float(len(sample.text))

    def values(self, samples: Sequence[Sample], services: MetricServices) -> list[float | None]:
        values = super().values(samples, services)
        most = max((value for value in values if value is not None), default=0.0) or 1.0
        return [None if value is None else value / most for value in values]


class ReadsColumn(Good):
    """A column that is not declared."""

    def value(self, sample: Sample) -> float:
        return super().value(sample) + len(sample.columns["category"])


class AsksScorer(Good):
    """A model that is not declared."""

    def values(self, samples: Sequence[Sample], services: MetricServices) -> list[float | None]:
        return [nll for nll, _ in services.answer_nll(samples)]
