"""GLEU of each answer and of the whole list, on mteval-v13a tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.api import Column, MetricRegistration, MetricResult, NoOptions, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.api import MetricServices, Sample


class Gleu:
    """Equal to nltk's ``sentence_gleu`` and ``corpus_gleu`` on the same tokens (Wu et al. 2016)."""

    def __init__(self, options: NoOptions) -> None:  # noqa: ARG002  # every `build` is called with its options
        """Make the scorer, which reads every reference once."""
        from harness_plugins.text.gleu import GleuScorer

        self._scorer = GleuScorer()

    def score(self, samples: Sequence[Sample], services: MetricServices) -> MetricResult:  # noqa: ARG002  # the protocol's
        """Return sentence GLEU in [0, 1] (missing without a reference) and corpus GLEU over the others."""
        from harness_plugins.text.gleu import corpus_gleu
        from harness_plugins.text.scripts import unspaced_notes
        from harness_plugins.text.signature import signature

        answers, references = [sample.text for sample in samples], [sample.references for sample in samples]
        matches = self._scorer.matches(answers, references)
        corpus = corpus_gleu(matches)
        return MetricResult(
            values={"gleu": [None if match is None else match.score for match in matches]},
            corpus={} if corpus is None else {"gleu": corpus},
            notes=unspaced_notes(answers, references, "chrf compares characters"),
            signature=signature(
                "gleu",
                refs="best",
                orders="1-4",
                tok="13a",
                packages=("sacrebleu",),
            ),
        )


@hookimpl
def harness_register_metrics() -> Iterable[MetricRegistration]:
    """Offer ``gleu``."""
    return [
        MetricRegistration(
            name="gleu",
            summary="GLEU per sentence and of the corpus (n-grams of order 1 to 4 of 13a tokens)",
            build="harness_plugins.metrics.gleu:Gleu",
            source="https://arxiv.org/abs/1609.08144",
            reads=("references",),
            columns=(Column("gleu", "GLEU", higher_is_better=True, scale=100.0, range=(0.0, 1.0)),),
            corpus=(Column("gleu", "corpus GLEU", higher_is_better=True, scale=100.0, range=(0.0, 1.0)),),
        )
    ]
