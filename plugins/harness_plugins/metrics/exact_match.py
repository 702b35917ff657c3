"""Exact match after normalising, as in the official evaluation."""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING, Final, Literal

from harness.api import Column, MetricRegistration, MetricResult, Options, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.api import MetricServices, Sample

_NO_PUNCTUATION: Final = str.maketrans("", "", string.punctuation)
_ARTICLE: Final = re.compile(r"\b(?:a|an|the)\b")


class ExactMatchOptions(Options):
    """What is taken off before two texts are compared."""

    articles: Literal["keep", "remove"] = "keep"
    """``keep``: as the official ESO evaluation, which normalises like SQuAD 1.1 but leaves a, an and the alone.
    ``remove``: SQuAD 1.1 itself."""


class ExactMatch:
    """1 where an answer equals one of its references after normalising, else 0; missing without a reference.

    Normalising: lower case, no ASCII punctuation, runs of white space as one space, none at the ends.
    """

    def __init__(self, options: ExactMatchOptions) -> None:
        """Keep the options."""
        self._articles = options.articles

    def score(self, samples: Sequence[Sample], services: MetricServices) -> MetricResult:  # noqa: ARG002  # the protocol's
        """Return ``exact_match``, 0 or 1."""
        from harness_plugins.text.signature import signature

        return MetricResult(
            values={"exact_match": [self._matches(sample) for sample in samples]},
            signature=signature("exact-match", case="lc", punct="no", articles=self._articles),
        )

    def _matches(self, sample: Sample) -> float | None:
        if not sample.references:
            return None
        answer = self._normalise(sample.text)
        return float(any(self._normalise(reference) == answer for reference in sample.references))

    def _normalise(self, text: str) -> str:
        text = text.lower().translate(_NO_PUNCTUATION)
        if self._articles == "remove":
            text = _ARTICLE.sub(" ", text)
        return " ".join(text.split())


@hookimpl
def harness_register_metrics() -> Iterable[MetricRegistration]:
    """Offer ``exact-match``."""
    return [
        MetricRegistration(
            name="exact-match",
            summary="exact match without case, punctuation and extra white space, against any reference",
            build="harness_plugins.metrics.exact_match:ExactMatch",
            options=ExactMatchOptions,
            source="https://arxiv.org/abs/1606.05250",
            reads=("references",),
            columns=(Column("exact_match", "EM", higher_is_better=True, unit="%", scale=100.0, range=(0.0, 1.0)),),
        )
    ]
