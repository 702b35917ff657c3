"""What the two metrics that come from sacrebleu share: leaving out what has no reference, and references in streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from harness.api import MetricResult

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.api import Sample


class Score(Protocol):
    """sacrebleu's result: ``score`` is a number from 0 to 100."""

    score: float


class SacrebleuMetric(Protocol):
    """The part of sacrebleu's metrics that is used here."""

    def sentence_score(self, hypothesis: str, references: Sequence[str]) -> Score:
        """Score one answer."""

    def corpus_score(self, hypotheses: Sequence[str], references: Any) -> Score:
        """Score a list; ``references`` are streams as long as the list, None where an answer has fewer."""

    def get_signature(self) -> object:
        """Return what is printed beside a score; only after something was scored."""


def sacrebleu_result(
    name: str,
    samples: Sequence[Sample],
    *,
    sentences: SacrebleuMetric,
    corpus: SacrebleuMetric,
    pool: Callable[[Sequence[Any]], float] | None = None,
) -> MetricResult:
    """Score each answer with ``sentences`` and all with ``corpus``; one without a reference is missing from both.

    The signature is sacrebleu's for the corpus without the number of references, which is the data's, followed by what
    it says differently of the sentences. Where all that the corpus needs is in the sentences' results, ``pool`` makes
    its score of them, and nothing is counted twice.
    """
    results = [
        sentences.sentence_score(sample.text, sample.references) if sample.references else None for sample in samples
    ]
    values = [None if result is None else result.score for result in results]
    present = [sample for sample in samples if sample.references]
    whole = {}
    if present and pool is not None:
        whole[name] = pool([result for result in results if result is not None])
    elif present:
        most = max(len(sample.references) for sample in present)
        streams = [
            [sample.references[number] if number < len(sample.references) else None for sample in present]
            for number in range(most)
        ]
        whole[name] = corpus.corpus_score([sample.text for sample in present], streams).score
    said = _said(corpus)
    differing = [f"sentence-{part}" for part in _said(sentences) if part not in said]
    return MetricResult(values={name: values}, corpus=whole, signature="|".join([name, *said, *differing]))


def _said(metric: SacrebleuMetric) -> list[str]:
    metric.corpus_score(["a"], [["a"]])  # sacrebleu has no signature before something was scored
    return [part for part in str(metric.get_signature()).split("|") if not part.startswith("nrefs:")]
