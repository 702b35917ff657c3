"""chrF and chrF++ through sacrebleu: of the whole list, and of each answer for paired comparisons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import NonNegativeInt, PositiveInt

from harness.api import Column, MetricRegistration, MetricResult, Options, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.api import MetricServices, Sample


class ChrfOptions(Options):
    """sacrebleu's options, with its defaults."""

    char_order: PositiveInt = 6
    """Longest character n-gram."""
    word_order: NonNegativeInt = 0
    """Longest word n-gram; 2 makes it chrF++."""
    beta: PositiveInt = 2
    """How many times recall weighs as much as precision."""
    lowercase: bool = False
    """Compare without regard to case."""


class Chrf:
    """chrF from 0 to 100, as sacrebleu gives it."""

    def __init__(self, options: ChrfOptions) -> None:
        """Keep the options."""
        self._options = options

    def score(self, samples: Sequence[Sample], services: MetricServices) -> MetricResult:  # noqa: ARG002  # the protocol's
        """Return sentence chrF (missing without a reference) and corpus chrF."""
        from sacrebleu.metrics.chrf import CHRF

        from harness_plugins.text.sacrebleu_scores import sacrebleu_result

        options = self._options.model_dump()
        return sacrebleu_result("chrf", samples, sentences=CHRF(**options), corpus=CHRF(**options))


@hookimpl
def harness_register_metrics() -> Iterable[MetricRegistration]:
    """Offer ``chrf``."""
    return [
        MetricRegistration(
            name="chrf",
            summary="chrF (chrF++ with word_order: 2) of the corpus and per sentence, by sacrebleu",
            build="harness_plugins.metrics.chrf:Chrf",
            options=ChrfOptions,
            source="https://aclanthology.org/W15-3049/",
            reads=("references",),
            columns=(Column("chrf", "sentence chrF", higher_is_better=True, shown=False, range=(0.0, 100.0)),),
            corpus=(Column("chrf", "chrF", higher_is_better=True, range=(0.0, 100.0)),),
        )
    ]
