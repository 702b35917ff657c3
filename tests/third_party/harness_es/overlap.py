"""The reward and the metric ``token-f1``: words shared with the best reference."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from harness.api import (
    Column,
    MetricRegistration,
    MetricResult,
    Options,
    RewardRegistration,
    hookimpl,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.api import MetricServices, Sample


class OverlapOptions(Options):
    """Options of both."""

    lowercase: bool = True
    """Compare words without regard to case."""


def token_f1(answer: str, reference: str, *, lowercase: bool = True) -> float:
    """Return the harmonic mean of the shares of words that answer and reference have in common, in [0, 1]."""
    texts = (answer.lower(), reference.lower()) if lowercase else (answer, reference)
    one, other = (Counter(text.split()) for text in texts)
    shared = (one & other).total()
    return 2 * shared / (one.total() + other.total()) if shared else 0.0


def overlap_reward(
    completions: Sequence[str], references: Sequence[Sequence[str]], *, lowercase: bool = True, **_: Any
) -> list[float | None]:
    """Reward with TRL's signature; a row without a reference has no reward."""
    return [
        max((token_f1(answer, reference, lowercase=lowercase) for reference in known), default=None)
        for answer, known in zip(completions, references, strict=True)
    ]


class OverlapMetric:
    """The same number, as a metric."""

    def __init__(self, options: OverlapOptions) -> None:
        """Keep the options."""
        self.options = options

    def score(self, samples: Sequence[Sample], services: MetricServices) -> MetricResult:
        """Return one value an answer."""
        lowercase = self.options.lowercase
        values = overlap_reward(
            [sample.text for sample in samples], [sample.references for sample in samples], lowercase=lowercase
        )
        return MetricResult({"f1": values}, signature=f"harness-es token-f1|v1|lowercase:{lowercase}")


@hookimpl
def harness_register_rewards() -> Iterable[RewardRegistration]:
    """Offer the reward: ``build`` is the function itself, and options become its keyword arguments."""
    return [
        RewardRegistration(
            name="token-f1",
            summary="F1 of the words shared with the best reference",
            options=OverlapOptions,
            build="harness_es.overlap:overlap_reward",
            function=True,
            range=(0.0, 1.0),
            reads=("references",),
        )
    ]


@hookimpl
def harness_register_metrics() -> Iterable[MetricRegistration]:
    """Offer the metric."""
    return [
        MetricRegistration(
            name="token-f1",
            summary="F1 of the words shared with the best reference",
            options=OverlapOptions,
            build="harness_es.overlap:OverlapMetric",
            reads=("references",),
            columns=(Column("f1", "Token F1", higher_is_better=True, unit="%", scale=100.0, range=(0.0, 1.0)),),
        )
    ]
