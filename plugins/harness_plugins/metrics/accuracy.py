"""The share of right answers, read strictly and flexibly, by the scoring of the reward ``verifiable``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from harness.api import Column, MetricRegistration, MetricResult, hookimpl
from harness_plugins.answers.options import TASK_COLUMN, AnswerOptions, reads

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.api import MetricServices, Sample

#: The column with the most frequent answer of the training rows, the same in every row.
MAJORITY_COLUMN: Final = "majority_answer"


class AccuracyOptions(AnswerOptions):
    """What is right, and what it is compared with."""

    majority: bool = False
    """Also show what always giving the most frequent training answer scores, read strictly: the column
    ``majority_answer`` of the data, which generated tasks and ``reasoning-gym`` have."""


class Accuracy:
    """1 where an answer is right, else 0; missing where a row has no right answer.

    Under a task's own scorer an answer is right where it has full credit; what the scorer gives is kept as ``score``.
    """

    def __init__(self, options: AccuracyOptions) -> None:
        """Keep the options."""
        from harness_plugins.answers.judging import Judge

        self._options = options
        self._judge = Judge(options, "metric 'accuracy'")

    def score(self, samples: Sequence[Sample], services: MetricServices) -> MetricResult:  # noqa: ARG002  # the protocol's
        """Return ``strict``, ``flexible`` and ``score``, and over the list ``majority`` where it is asked for."""
        from harness_plugins.answers.judging import of_sample
        from harness_plugins.text.signature import signature

        scores = [of_sample(self._judge, self._options, sample) for sample in samples]
        corpus = {}
        if self._options.majority:
            always = [of_sample(self._judge, self._options, sample, _majority(sample)) for sample in samples]
            right = [is_right(score.strict) for score in always if score is not None]
            corpus = {"majority": sum(right) / len(right)} if right else {}
        return MetricResult(
            values={
                "strict": [None if score is None else is_right(score.strict) for score in scores],
                "flexible": [None if score is None else is_right(score.flexible) for score in scores],
                "score": [None if score is None else score.strict for score in scores],
            },
            corpus=corpus,
            signature=signature("accuracy", **self._options.said),
        )


def _majority(sample: Sample) -> str:
    return str(sample.columns.get(MAJORITY_COLUMN, ""))


def is_right(score: float) -> float:
    """Return 1 for full credit, else 0."""
    return float(score >= 1.0)


def _by_options(options: AccuracyOptions) -> Mapping[str, Any]:
    fields = dict(reads(options))
    if options.majority:
        fields["reads"] = (*fields["reads"], MAJORITY_COLUMN)
        fields["corpus"] = (Column("majority", "always the majority answer", unit="%", scale=100.0, range=(0.0, 1.0)),)
    return fields


def columns_of(name: str, label: str, *, shown: bool = True) -> Column:
    """Return a column of shares of right answers."""
    return Column(name, label, higher_is_better=True, unit="%", scale=100.0, shown=shown, range=(0.0, 1.0))


@hookimpl
def harness_register_metrics() -> Iterable[MetricRegistration]:
    """Offer ``accuracy``."""
    return [
        MetricRegistration(
            name="accuracy",
            summary="share of right answers, strictly and flexibly read, with what the majority answer scores",
            build="harness_plugins.metrics.accuracy:Accuracy",
            options=AccuracyOptions,
            reads=("answer",),
            may_read=(TASK_COLUMN,),
            columns=(
                columns_of("strict", "accuracy"),
                columns_of("flexible", "accuracy, flexible"),
                columns_of("score", "task score", shown=False),
            ),
            by_options=_by_options,
        )
    ]
