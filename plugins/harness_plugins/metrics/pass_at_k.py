"""pass@k: whether one of k answers is right, estimated without bias from several draws of each prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field, PositiveInt, field_validator

from harness.api import Column, MetricRegistration, MetricResult, hookimpl
from harness_plugins.answers.options import TASK_COLUMN, AnswerOptions, reads

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.api import MetricServices, Sample


class PassAtKOptions(AnswerOptions):
    """What is right, and of how many answers one has to be."""

    k: tuple[PositiveInt, ...] = Field((1, 4), min_length=1)
    """The numbers of answers, each a column; a decoding needs as many ``draws`` as the largest."""

    @field_validator("k")
    @classmethod
    def _different(cls, k: tuple[int, ...]) -> tuple[int, ...]:
        if list(k) != sorted(set(k)):
            raise ValueError("`k` is a rising list of different numbers, such as [1, 4]")
        return k


class PassAtK:
    """The unbiased estimate of pass@k for each prompt, which each of its draws has as its value.

    For k = 1 that is the mean of the draws, and each has its own, 1 or 0. Answers without a right one to compare with
    are not counted; a prompt with fewer answers than k has no value.
    """

    def __init__(self, options: PassAtKOptions) -> None:
        """Keep the options."""
        from harness_plugins.answers.judging import Judge

        self._options = options
        self._judge = Judge(options, "metric 'pass-at-k'")

    def score(self, samples: Sequence[Sample], services: MetricServices) -> MetricResult:  # noqa: ARG002  # the protocol's
        """Return ``strictK`` and ``flexibleK`` for each k."""
        from harness_plugins.answers.judging import of_sample
        from harness_plugins.answers.passing import pass_at_k
        from harness_plugins.metrics.accuracy import is_right
        from harness_plugins.text.signature import signature

        scores = [of_sample(self._judge, self._options, sample) for sample in samples]
        values = {}
        for place, reading in enumerate(("strict", "flexible")):
            right = [None if score is None else is_right(score[place]) for score in scores]
            drawn: dict[str, list[float]] = {}
            for sample, value in zip(samples, right, strict=True):
                drawn.setdefault(sample.id, []).extend([] if value is None else [value])
            for k in self._options.k:
                whole = {key: pass_at_k(len(known), round(sum(known)), k) for key, known in drawn.items()}
                values[f"{reading}{k}"] = [
                    value if k == 1 or value is None else whole[sample.id]
                    for sample, value in zip(samples, right, strict=True)
                ]
        return MetricResult(values=values, signature=signature("pass-at-k", estimate="unbiased", **self._options.said))


def _by_options(options: PassAtKOptions) -> Mapping[str, Any]:
    return {**reads(options), "columns": _columns(options.k), "draws": max(options.k)}


def _columns(listed: Sequence[int]) -> tuple[Column, ...]:
    from harness_plugins.metrics.accuracy import columns_of

    strict = [columns_of(f"strict{k}", f"pass@{k}") for k in listed]
    flexible = [columns_of(f"flexible{k}", f"pass@{k}, flexible") for k in listed]
    return (*strict, *flexible)


@hookimpl
def harness_register_metrics() -> Iterable[MetricRegistration]:
    """Offer ``pass-at-k``."""
    return [
        MetricRegistration(
            name="pass-at-k",
            summary="whether one of k answers is right, without bias from several draws, strictly and flexibly read",
            build="harness_plugins.metrics.pass_at_k:PassAtK",
            options=PassAtKOptions,
            source="https://arxiv.org/abs/2107.03374",
            reads=("answer",),
            may_read=(TASK_COLUMN,),
            columns=_columns((1, 4)),
            draws=4,
            by_options=_by_options,
        )
    ]
