"""How long answers are, beside every score: a metric of text can be moved by length alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.api import Column, MetricRegistration, MetricResult, NoOptions, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.api import MetricServices, Sample


class Length:
    """Tokens, words, length against the reference, and the rates of truncated and empty answers."""

    def __init__(self, options: NoOptions) -> None:
        """Take no options."""

    def score(self, samples: Sequence[Sample], services: MetricServices) -> MetricResult:  # noqa: ARG002  # the protocol's
        """Return ``tokens`` (without EOS), ``words``, ``ratio``, ``truncated`` and ``empty`` (each 0 or 1).

        Words are cut at white space. ``ratio`` is words over words of the reference whose length is closest (the
        shorter of two, as in BLEU). It is missing where no reference has a word; over the list it is the ratio of the
        sums.
        """
        from harness_plugins.text.signature import signature

        words = [len(sample.text.split()) for sample in samples]
        targets = [_closest(n, sample.references) for n, sample in zip(words, samples, strict=True)]
        compared = sum(n for n, target in zip(words, targets, strict=True) if target is not None)
        wanted = sum(target for target in targets if target is not None)
        return MetricResult(
            values={
                "tokens": [float(sample.tokens) for sample in samples],
                "words": [float(n) for n in words],
                "ratio": [None if t is None else n / t for n, t in zip(words, targets, strict=True)],
                "truncated": [float(not sample.finished) for sample in samples],
                "empty": [float(not sample.text.strip()) for sample in samples],
            },
            corpus={"ratio": compared / wanted} if wanted else {},
            signature=signature("length", words="white-space", ref="closest"),
        )


def _closest(words: int, references: Iterable[str]) -> int | None:
    lengths = [n for n in (len(text.split()) for text in references) if n]
    return min(lengths, key=lambda n: (abs(n - words), n), default=None)


@hookimpl
def harness_register_metrics() -> Iterable[MetricRegistration]:
    """Offer ``length``."""
    return [
        MetricRegistration(
            name="length",
            summary="tokens, words, ratio to the reference's words, truncated and empty answers",
            build="harness_plugins.metrics.length:Length",
            role="length",
            may_read=("references",),
            columns=(
                Column("tokens", "tokens", unit="tokens", digits=1, range=(0.0, None)),
                Column("words", "words", unit="words", digits=1, range=(0.0, None)),
                Column("ratio", "length ratio", range=(0.0, None)),
                Column(
                    "truncated", "truncated", higher_is_better=False, unit="%", scale=100.0, digits=1, range=(0.0, 1.0)
                ),
                Column("empty", "empty", higher_is_better=False, unit="%", scale=100.0, digits=1, range=(0.0, 1.0)),
            ),
            corpus=(Column("ratio", "corpus length ratio", range=(0.0, None)),),
        )
    ]
