"""The other way round: any metric of the harness as a metric of Hugging Face's ``evaluate``.

For users of ``evaluate`` (its ``combine``, its evaluators) who want the numbers of the tables::

    from harness.plugins.loader import load_registry
    from harness_plugins.metrics.as_evaluate import as_evaluate

    rouge = as_evaluate(load_registry(), "rouge", {"use_stemmer": True})
    rouge.compute(predictions=["the cat sat"], references=[["a cat sat", "the cat"]])
    # {'rouge1': 0.8, 'rouge2': 0.666…, 'rougeL': 0.8}

Importing this module imports ``evaluate``, which takes seconds; the harness itself never does it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

import evaluate
from datasets import Features, Sequence, Value

from harness.api import InputError, MetricRegistration, Sample, StageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from harness.api import Metric, MetricServices


class MetricSource(Protocol):
    """What is needed of ``harness.plugins.registry.Registry``."""

    def get(self, kind: Any, name: str) -> Any:
        """Return a registration."""

    def options(self, kind: Any, name: str, raw: Mapping[str, Any]) -> Any:
        """Validate options."""

    def build(self, kind: Any, name: str, options: Mapping[str, Any]) -> Any:
        """Return the plugin's object."""


def as_evaluate(
    registry: MetricSource,
    name: str,
    options: Mapping[str, Any] | None = None,
    *,
    services: MetricServices | None = None,
    tokenise: Callable[[str], Iterable[object]] = str.split,
) -> HarnessMetric:
    """Return a registered metric as an ``evaluate.Metric``.

    Args:
        registry: ``harness.plugins.loader.load_registry()``.
        name: What a benchmark file says after ``use:``.
        options: The metric's options.
        services: The models that the metric asks for, if its registration says that it needs any.
        tokenise: Counts the tokens of an answer, which has none of its own here; words at white space by default.

    Raises:
        InputError: There is no such metric, or it needs a model and ``services`` is not given.
        pydantic.ValidationError: The options do not fit.
    """
    registration = registry.get("metric", name).resolved(registry.options("metric", name, options or {}))
    if registration.needs and services is None:
        raise InputError(
            f"the metric needs a model ({', '.join(sorted(registration.needs))})",
            where=f"metric {name!r}",
            expected="`services`, an object with the methods of harness.api.MetricServices",
        )
    return HarnessMetric(registration, registry.build("metric", name, options or {}), services, tokenise)


class HarnessMetric(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
    """A metric of the harness behind the interface of ``evaluate``.

    ``compute`` takes ``predictions`` and ``references``, one text or a list of texts an answer, and returns the mean of
    each column over the answers that have a value, and each number over the list, as ``corpus_`` and its name. A number
    that does not exist is left out. With ``per_answer=True`` each column also comes as a list, ``None`` where missing.

    Answers count as finished, and prompts as empty: the interface has no place for them.
    """

    def __init__(
        self,
        registration: MetricRegistration,
        metric: Metric,
        services: MetricServices | None,
        tokenise: Callable[[str], Iterable[object]],
    ) -> None:
        """Keep the parts and set up ``evaluate``'s side, in memory and with a fixed seed."""
        self._registration = registration
        self._harness_metric = metric
        self._services = services
        self._tokenise = tokenise
        super().__init__(keep_in_memory=True, seed=0)
        self.info.module_name = registration.name.replace("-", "_")

    def _info(self) -> Any:
        several = Features({"predictions": Value("string"), "references": Sequence(Value("string"))})
        single = Features({"predictions": Value("string"), "references": Value("string")})
        return evaluate.MetricInfo(
            description=self._registration.summary,
            citation=self._registration.source,
            inputs_description="predictions: answers; references: one text or a list of texts an answer; per_answer: "
            "also return a value an answer.",
            features=[several, single],
            reference_urls=[self._registration.source] if self._registration.source else [],
        )

    def _compute(
        self,
        predictions: Iterable[str],
        references: Iterable[str | list[str]],
        *,
        per_answer: bool = False,
    ) -> dict[str, Any]:
        samples = [
            Sample(
                id=str(number),
                draw=0,
                prompt="",
                text=text.strip(),
                tokens=sum(1 for _ in self._tokenise(text)),
                finished=True,
                references=(texts,) if isinstance(texts, str) else tuple(texts),
            )
            for number, (text, texts) in enumerate(zip(predictions, references, strict=True))
        ]
        result = self._harness_metric.score(samples, self._services or NoServices(self._registration.name))
        means: dict[str, Any] = {}
        for name, values in result.values.items():
            present = [value for value in values if value is not None]
            if present:
                means[name] = math.fsum(present) / len(present)
            if per_answer:
                means[f"{name}_per_answer"] = list(values)
        return {**means, **{f"corpus_{name}": value for name, value in result.corpus.items()}}


class NoServices:
    """For metrics that registered no need of a model."""

    scorer_label = ""
    retry_before = 0.0

    def __init__(self, name: str) -> None:
        """Remember what to blame."""
        self._name = name

    def answer_nll(self, samples: Any) -> Any:
        """Refuse."""
        raise self._refusal(len(samples))

    def reference_nll(self, samples: Any) -> Any:
        """Refuse."""
        raise self._refusal(len(samples))

    def prefix_nll(self, samples: Any) -> Any:
        """Refuse."""
        raise self._refusal(len(samples))

    def text_nll(self, texts: Any) -> Any:
        """Refuse."""
        raise self._refusal(len(texts))

    def divergences(self, samples: Any, label: Any) -> Any:  # noqa: ARG002  # refused
        """Refuse."""
        raise self._refusal(len(samples))

    def rewards(self, samples: Any, texts: Any) -> Any:  # noqa: ARG002  # refused
        """Refuse."""
        raise self._refusal(len(samples))

    def answers_of(self, label: str) -> Any:
        """Refuse."""
        raise StageError(f"there are no rows here, and no answers of {label!r}", where=f"metric {self._name!r}")

    def cache(self, name: str) -> Any:
        """Refuse."""
        raise StageError(
            f"the metric keeps {name!r} in a folder, and there is none", where=f"metric {self._name!r}",
            expected="`services`, an object with the methods of harness.api.MetricServices",
        )  # fmt: skip

    def tell(self, done: int, total: int, note: str) -> None:
        """Nobody listens."""

    def _refusal(self, count: int) -> StageError:
        return StageError(f"the metric asked for a model for {count} answers", where=f"metric {self._name!r}")
