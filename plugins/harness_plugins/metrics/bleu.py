"""BLEU through sacrebleu: of the whole list, and of each answer for paired comparisons."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from harness.api import Column, MetricRegistration, MetricResult, Options, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sacrebleu.metrics.bleu import BLEUScore

    from harness.api import MetricServices, Sample


class BleuOptions(Options):
    """sacrebleu's options, with its defaults."""

    tokenize: Literal["13a", "intl", "char", "none"] = "13a"
    """How a text becomes tokens: as mteval-v13a, international, by character, or at white space."""
    lowercase: bool = False
    """Compare without regard to case."""
    smooth_method: Literal["exp", "floor", "add-k", "none"] = "exp"
    """What stands for a precision of zero."""


class Bleu:
    """BLEU from 0 to 100, as sacrebleu gives it; sentence BLEU uses the effective order, as sacrebleu advises."""

    def __init__(self, options: BleuOptions) -> None:
        """Keep the options."""
        self._options = options

    def score(self, samples: Sequence[Sample], services: MetricServices) -> MetricResult:  # noqa: ARG002  # the protocol's
        """Return sentence BLEU (missing without a reference) and corpus BLEU."""
        from sacrebleu.metrics.bleu import BLEU

        from harness_plugins.text.sacrebleu_scores import sacrebleu_result
        from harness_plugins.text.scripts import unspaced_notes

        # force: the texts of a model may end in " ." without being tokenised, and a log line about it helps nobody
        options = {**self._options.model_dump(), "force": True}
        result = sacrebleu_result(
            "bleu",
            samples,
            sentences=BLEU(**options, effective_order=True),
            corpus=BLEU(**options),
            pool=None if self._options.smooth_method == "add-k" else self._pool,  # which adds to the counts
        )
        if self._options.tokenize == "char":
            return result
        texts, references = [sample.text for sample in samples], [sample.references for sample in samples]
        return replace(result, notes=unspaced_notes(texts, references, "tokenize: char compares characters"))

    def _pool(self, sentences: Sequence[BLEUScore]) -> float:
        """Return corpus BLEU: its counts and lengths are the sums of the sentences'."""
        from sacrebleu.metrics.bleu import BLEU

        return float(
            BLEU.compute_bleu(
                [sum(counts) for counts in zip(*(each.counts for each in sentences), strict=True)],
                [sum(totals) for totals in zip(*(each.totals for each in sentences), strict=True)],
                sum(each.sys_len for each in sentences),
                sum(each.ref_len for each in sentences),
                smooth_method=self._options.smooth_method,
            ).score
        )


@hookimpl
def harness_register_metrics() -> Iterable[MetricRegistration]:
    """Offer ``bleu``."""
    return [
        MetricRegistration(
            name="bleu",
            summary="BLEU of the corpus and per sentence, by sacrebleu",
            build="harness_plugins.metrics.bleu:Bleu",
            options=BleuOptions,
            source="https://aclanthology.org/W18-6319/",
            reads=("references",),
            columns=(Column("bleu", "sentence BLEU", higher_is_better=True, shown=False, range=(0.0, 100.0)),),
            corpus=(Column("bleu", "BLEU", higher_is_better=True, range=(0.0, 100.0)),),
        )
    ]
