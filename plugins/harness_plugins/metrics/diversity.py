"""How varied answers are: distinct n-grams and repetition, within an answer and over all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydantic import PositiveInt

from harness.api import Column, MetricRegistration, MetricResult, Options, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.api import MetricServices, Sample

_ORDERS: Final = (1, 2, 3)


class DiversityOptions(Options):
    """What counts as a repetition."""

    repetition_size: PositiveInt = 4
    """Tokens in the n-grams of the repetition rate."""


class Diversity:
    """The distinct n-grams among all, and the rate of repetition.

    distinct-n is that of Li et al. 2016, repetition the share of n-grams that repeat an earlier one of the same answer
    (seq-rep-n of Welleck et al. 2020, arXiv:1908.04319).

    Tokens are mteval-v13a's, in their case. What would be 0 / 0, the number of an answer with too few tokens for an
    n-gram, is missing. Over all answers, distinct-n falls as the number of answers grows: compare lists of equal size.
    """

    def __init__(self, options: DiversityOptions) -> None:
        """Keep the options."""
        self._size = options.repetition_size

    def score(self, samples: Sequence[Sample], services: MetricServices) -> MetricResult:  # noqa: ARG002  # the protocol's
        """Return ``distinct1``, ``distinct2``, ``distinct3`` and ``repetition``, all in [0, 1]."""
        from harness_plugins.text.ngrams import ngrams, repeated_share, total_ngrams
        from harness_plugins.text.scripts import unspaced_notes
        from harness_plugins.text.signature import signature
        from harness_plugins.text.tokenise13a import tokenise_13a

        answers = [tokenise_13a(sample.text) for sample in samples]
        values: dict[str, list[float | None]] = {}
        corpus: dict[str, float] = {}
        for order in _ORDERS:
            sets = [set(ngrams(tokens, order)) for tokens in answers]
            totals = [total_ngrams(len(tokens), order) for tokens in answers]
            name = f"distinct{order}"
            values[name] = [
                len(distinct) / total if total else None for distinct, total in zip(sets, totals, strict=True)
            ]
            if any(totals):
                corpus[name] = len(set[tuple[str, ...]]().union(*sets)) / sum(totals)
        values["repetition"] = [repeated_share(tokens, self._size) for tokens in answers]
        counts = [total_ngrams(len(tokens), self._size) for tokens in answers]
        if any(counts):
            repeated = sum(n - len(set(ngrams(tokens, self._size))) for n, tokens in zip(counts, answers, strict=True))
            corpus["repetition"] = repeated / sum(counts)
        return MetricResult(
            values=values,
            corpus=corpus,
            notes=unspaced_notes(sample.text for sample in samples),
            signature=signature(
                "diversity", tok="13a", case="mixed", repetition=f"seq-rep-{self._size}", packages=("sacrebleu",)
            ),
        )


@hookimpl
def harness_register_metrics() -> Iterable[MetricRegistration]:
    """Offer ``diversity``."""
    distinct = [(f"distinct{n}", f"distinct-{n}") for n in _ORDERS]
    return [
        MetricRegistration(
            name="diversity",
            summary="distinct-1, 2, 3 within an answer and over all answers, and the rate of repeated n-grams",
            build="harness_plugins.metrics.diversity:Diversity",
            options=DiversityOptions,
            source="https://aclanthology.org/N16-1014/",
            role="fluency",
            columns=(
                *(
                    Column(
                        name,
                        label,
                        higher_is_better=True,
                        unit="%",
                        scale=100.0,
                        shown=name == "distinct2",
                        range=(0.0, 1.0),
                    )
                    for name, label in distinct
                ),
                Column("repetition", "repetition", higher_is_better=False, unit="%", scale=100.0, range=(0.0, 1.0)),
            ),
            corpus=(
                *(
                    Column(
                        name,
                        f"corpus {label}",
                        higher_is_better=True,
                        unit="%",
                        scale=100.0,
                        shown=name == "distinct2",
                        range=(0.0, 1.0),
                    )
                    for name, label in distinct
                ),
                Column(
                    "repetition",
                    "corpus repetition",
                    higher_is_better=False,
                    unit="%",
                    scale=100.0,
                    shown=False,
                    range=(0.0, 1.0),
                ),
            ),
        )
    ]
