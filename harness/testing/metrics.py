"""The check of a metric."""

from __future__ import annotations

import copy
import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.api import Metric, MetricRegistration, Sample
from harness.testing.registrations import broken, build, check_registration, random_numbers_untouched

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.api import MetricResult

_TEXTS = ("Yes, it is.", "", "no", "é 你好 🙂", "yes yes yes yes", "Yes, it is.", "word " * 100)


class Services:
    """Models that a metric may ask: deterministic stand-ins, so that no model is loaded."""

    scorer_label = "a stand-in"
    retry_before = 0.0

    def __init__(self, samples: Sequence[Sample] = (), folder: Path | None = None) -> None:
        """Keep the answers that are scored, and where a metric may keep what it must not buy twice."""
        self._samples = samples
        self._folder = folder

    def answers_of(self, label: str) -> list[Sample]:
        """Every row answers alike: the words of the answer that is scored, the last one first."""
        return [replace(sample, text=" ".join([*sample.text.split()[::-1], label])) for sample in self._samples]

    def cache(self, name: str) -> Path:
        """A folder that is gone with the check."""
        assert self._folder is not None, "a metric that caches is checked with a folder"
        folder = self._folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def tell(self, done: int, total: int, note: str) -> None:
        """Nobody listens."""

    def answer_nll(self, samples: Sequence[Sample]) -> list[tuple[float, int]]:
        """Half a nat a character."""
        return [(0.5 * len(sample.text), sample.tokens) for sample in samples]

    def reference_nll(self, samples: Sequence[Sample]) -> list[tuple[float, int]]:
        """Two nats a word of the first reference."""
        counts = [len(sample.references[0].split()) if sample.references else 0 for sample in samples]
        return [(2.0 * count, count) for count in counts]

    def prefix_nll(self, samples: Sequence[Sample]) -> list[list[tuple[float, float]]]:
        """One nat a token, forty of them a reference; each token of the answer before it makes it a tenth worse."""
        return [
            [(1.0, 1.0 + 0.1 * min(place, len(sample.text.split()))) for place in range(40)]
            if sample.references
            else []
            for sample in samples
        ]

    def rewards(self, samples: Sequence[Sample], texts: Sequence[str]) -> list[float]:
        """A tenth a character, less one a character of the prompt."""
        return [0.1 * len(text) - len(sample.prompt) for sample, text in zip(samples, texts, strict=True)]


def check_metric(
    registration: MetricRegistration,
    options: Mapping[str, Any] | None = None,
    samples: Sequence[Sample] | None = None,
) -> None:
    """Check that a metric gives one value an answer and column, which paired tests rely on.

    The registered columns and no others, in the order of the answers whatever that is; finite or None; the same when
    asked again; nothing changed in the answers; no global random numbers; no answers at all and answers without a
    reference are no error.

    Args:
        registration: the metric.
        options: as a benchmark file would give them.
        samples: further answers, for a metric that reads columns of its own.
    """
    check_registration(registration)
    metric: Metric = build(registration, options)
    every = [*answers(), *(samples or ())]
    kept = copy.deepcopy(every)
    with random_numbers_untouched(registration, "scoring"):
        first = _score(registration, options, metric, every)
    if every != kept:
        broken(registration, "it changed the answers")
    if not isinstance(first.signature, str) or not first.signature.strip():
        broken(registration, "its result needs a signature: implementation, version and options")
    again = _score(registration, options, build(registration, options), every)
    if (again.values, again.corpus, again.signature) != (first.values, first.corpus, first.signature):
        broken(registration, "it gives other values when asked again")
    backwards = _score(registration, options, metric, every[::-1])
    for name, values in first.values.items():
        if list(values) != list(backwards.values[name])[::-1]:
            broken(registration, f"the values of column {name!r} do not follow the order of the answers")
    _score(registration, options, metric, [])
    _score(registration, options, metric, [_sample(0, "yes", references=())])


def answers() -> list[Sample]:
    """Return answers that have tripped metrics: empty, without words, repetitive, equal, cut, drawn twice."""
    return [_sample(number, text) for number, text in enumerate(_TEXTS)]


def _sample(number: int, text: str, references: tuple[str, ...] = ("Yes, it is.", "yes")) -> Sample:
    return Sample(
        id=f"row-{number // 2}",
        draw=number % 2,
        prompt=f"Question {number // 2}?",
        text=text.strip(),
        tokens=len(text.split()),
        finished=number != len(_TEXTS) - 1,
        references=references,
        columns={"category": "odd" if number % 2 else "even"},
    )


def _score(
    registration: MetricRegistration, options: Mapping[str, Any] | None, metric: Metric, samples: Sequence[Sample]
) -> MetricResult:
    from harness.testing.registrations import registry_of

    checked = registry_of(registration).options("metric", registration.name, options or {})
    resolved = registration.resolved(checked)
    with tempfile.TemporaryDirectory() as folder:
        result = metric.score(samples, Services(samples, Path(folder)))
    columns = {column.name for column in resolved.columns}
    if set(result.values) != columns:
        broken(registration, f"it registers the columns {sorted(columns)} and returned {sorted(result.values)}")
    for name, values in result.values.items():
        if len(values) != len(samples):
            broken(registration, f"column {name!r} has {len(values)} values for {len(samples)} answers")
        for value in values:
            if value is not None and not (isinstance(value, (int, float)) and math.isfinite(value)):
                broken(registration, f"column {name!r}: a value is a finite number or None, and not {value!r}")
    for name, value in result.corpus.items():
        if not (isinstance(value, (int, float)) and math.isfinite(value)):
            broken(registration, f"corpus number {name!r} is {value!r}: leave out what cannot be computed")
    if samples and (missing := {column.name for column in resolved.corpus} - set(result.corpus)) and len(samples) > 1:
        broken(registration, f"it registers the corpus numbers {sorted(missing)} and returned none")
    return result
