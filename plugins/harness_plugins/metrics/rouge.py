"""ROUGE-1, ROUGE-2 and ROUGE-L of each answer, as the official evaluation counts them."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from harness.api import Column, MetricRegistration, MetricResult, Options, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.api import MetricServices, Sample


class RougeOptions(Options):
    """How words are compared."""

    use_stemmer: bool = True
    """Compare Porter stems of the words with more than three characters, as the official evaluation does."""


class Rouge:
    """F-measures, bit-equal to rouge-score's; each takes its own best reference, as the official evaluation does.

    An empty answer scores 0; an answer without any reference is missing, and so is one in letters of which ROUGE reads
    none (Chinese, Arabic, Greek …: it knows a-z and 0-9 alone), or whose references are all so: rouge-score says 0.
    """

    def __init__(self, options: RougeOptions) -> None:
        """Keep the options; one scorer serves all calls, so that stems and references are read once."""
        from harness_plugins.text.rouge import RougeScorer

        self._options = options
        self._scorer = RougeScorer(stemmer=options.use_stemmer)

    def score(self, samples: Sequence[Sample], services: MetricServices) -> MetricResult:  # noqa: ARG002  # the protocol's
        """Return ``rouge1``, ``rouge2`` and ``rougeL``, each in [0, 1]."""
        from harness_plugins.text.rouge import Variant, unread
        from harness_plugins.text.signature import signature

        answers = [sample.text for sample in samples]
        references = [sample.references for sample in samples]
        values = {name: self._scorer.scores(name, answers, references) for name in get_args(Variant)}
        stemmer = self._options.use_stemmer
        lost = {
            "answers in letters of which ROUGE reads none (it knows a-z and 0-9), without a value": sum(
                map(unread, answers)
            ),
            "references in letters of which ROUGE reads none, left out": sum(
                unread(text) for texts in references for text in texts
            ),
        }
        return MetricResult(
            values=values,
            notes={what: count for what, count in lost.items() if count},
            signature=signature(
                "rouge",
                refs="best",
                tok="a-z0-9",
                stem="porter-nltk" if stemmer else "no",
                like="rouge-score-0.1.2",
            ),
        )


@hookimpl
def harness_register_metrics() -> Iterable[MetricRegistration]:
    """Offer ``rouge``."""
    names = (("rouge1", "ROUGE-1"), ("rouge2", "ROUGE-2"), ("rougeL", "ROUGE-L"))
    return [
        MetricRegistration(
            name="rouge",
            summary="ROUGE-1, 2 and L (F, stemmed, best reference), bit-equal to rouge-score",
            build="harness_plugins.metrics.rouge:Rouge",
            options=RougeOptions,
            source="https://aclanthology.org/W04-1013/",
            reads=("references",),
            columns=tuple(
                Column(name, label, higher_is_better=True, scale=100.0, range=(0.0, 1.0)) for name, label in names
            ),
            headline="rougeL",
        )
    ]
