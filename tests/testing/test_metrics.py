"""The metric check: a good metric passes, each mistake is caught."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness.api import Column, MetricRegistration, MetricResult, Options, Sample
from harness.testing import ContractError, check_metric

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.api import MetricServices


class Opts(Options):
    unit: str = "words"


class Words:
    """Count words."""

    def __init__(self, options: Any = None) -> None:
        self.seen = 0

    def score(self, samples: Sequence[Sample], services: MetricServices) -> MetricResult:
        self.seen += 1
        values = self.values(samples)
        return MetricResult({"words": values}, self.corpus(samples), "words|v1")

    def values(self, samples: Sequence[Sample]) -> Any:
        return [len(sample.text.split()) if sample.text else None for sample in samples]

    def corpus(self, samples: Sequence[Sample]) -> Any:
        return {"longest": max(len(sample.text) for sample in samples)} if samples else {}


class Perplexity(Words):
    def values(self, samples: Sequence[Sample]) -> Any:
        return [None] * len(samples)

    def score(self, samples: Sequence[Sample], services: MetricServices) -> MetricResult:
        pairs = [*services.answer_nll(samples), *services.reference_nll(samples)]
        assert len(pairs) == 2 * len(samples)
        return MetricResult(
            {"words": [nll for nll, _ in pairs[: len(samples)]]}, {"longest": 1.0}, services.scorer_label
        )


class OtherColumn(Words):
    def score(self, samples: Sequence[Sample], services: MetricServices) -> MetricResult:
        return MetricResult({"word": self.values(samples)}, {}, "x")


class Ranks(Words):
    def values(self, samples: Sequence[Sample]) -> Any:
        return [float(place) for place, _ in enumerate(samples)]


class OneShort(Words):
    def values(self, samples: Sequence[Sample]) -> Any:
        return [1.0] * (len(samples) - 1)


class NotANumber(Words):
    def values(self, samples: Sequence[Sample]) -> Any:
        return [float("nan")] * len(samples)


class NoCorpus(Words):
    def corpus(self, samples: Sequence[Sample]) -> Any:
        return {}


class InfiniteCorpus(Words):
    def corpus(self, samples: Sequence[Sample]) -> Any:
        return {"longest": float("inf")}


class Counting(Words):
    def values(self, samples: Sequence[Sample]) -> Any:
        type(self).total += 1
        return [float(type(self).total)] * len(samples)

    total = 0


class Unsigned(Words):
    def score(self, samples: Sequence[Sample], services: MetricServices) -> MetricResult:
        return MetricResult({"words": self.values(samples)}, self.corpus(samples))


class Editing(Words):
    def values(self, samples: Sequence[Sample]) -> Any:
        for sample in samples:
            sample.columns["category"] = "seen"  # type: ignore[index]  # the mistake
        return super().values(samples)


class NeedsReference(Words):
    def values(self, samples: Sequence[Sample]) -> Any:
        return [float(len(sample.references[0])) for sample in samples]


class NeedsAnswers(Words):
    def corpus(self, samples: Sequence[Sample]) -> Any:
        return {"longest": max(len(sample.text) for sample in samples)}


def registration(build: Callable[[Any], Any], **settings: Any) -> MetricRegistration:
    return MetricRegistration(
        name="m",
        summary="s",
        build=build,
        options=Opts,
        columns=(Column("words", "Words"),),
        corpus=(Column("longest", "Longest"),),
        **settings,
    )


def test_good_metrics_pass() -> None:
    check_metric(registration(Words))
    check_metric(registration(Perplexity, needs=frozenset({"scorer", "policy"}), may_read=("references",)))


def test_further_answers_are_scored_too() -> None:
    seen: list[str] = []

    class Seeing(Words):
        def values(self, samples: Sequence[Sample]) -> Any:
            seen.extend(sample.text for sample in samples)
            return super().values(samples)

    check_metric(registration(Seeing), samples=[Sample("x", 0, "p", "a very own answer", 4, True, ())])
    assert "a very own answer" in seen


def test_columns_may_follow_the_options() -> None:
    class Named(Words):
        def __init__(self, options: Any) -> None:
            super().__init__()
            self.unit = options.unit

        def score(self, samples: Sequence[Sample], services: MetricServices) -> MetricResult:
            return MetricResult({self.unit: self.values(samples)}, {}, "x")

    def columns(options: Any) -> dict[str, Any]:
        return {"columns": (Column(options.unit, options.unit),)}

    named = MetricRegistration(name="m", summary="s", build=Named, options=Opts, columns=(), by_options=columns)
    check_metric(named, {"unit": "letters"})


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (OtherColumn, "it registers the columns ['words'] and returned ['word']"),
        (Ranks, "the values of column 'words' do not follow the order of the answers"),
        (OneShort, "column 'words' has 6 values for 7 answers"),
        (NotANumber, "column 'words': a value is a finite number, at most 1e+38 in size, or None, and not nan"),
        (NoCorpus, "it registers the corpus numbers ['longest'] and returned none"),
        (InfiniteCorpus, "corpus number 'longest' is inf"),
        (Counting, "it gives other values when asked again"),
        (Unsigned, "its result needs a signature"),
        (Editing, "it changed the answers"),
    ],
)
def test_a_mistake_is_caught(metric: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(ContractError) as raised:
        check_metric(registration(metric))
    assert message in str(raised.value)


@pytest.mark.parametrize(("metric", "error"), [(NeedsReference, IndexError), (NeedsAnswers, ValueError)])
def test_a_metric_that_raises_shows_its_own_error(metric: Callable[[Any], Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        check_metric(registration(metric, reads=("references",)))
