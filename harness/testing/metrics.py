"""The check of a metric."""

from __future__ import annotations

import copy
import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.api import Divergence, Metric, MetricRegistration, Sample
from harness.plugins.reading import UndeclaredError, shown_samples
from harness.spec.results.score import LARGEST
from harness.testing.registrations import broken, build, check_registration, random_numbers_untouched, registry_of
from harness.testing.rules import rule

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from harness.api import MetricResult

#: Largest difference between a value of an answer in company and alone.
TOLERANCE: Final = 1e-9

_TEXTS = ("Yes, it is.", "", "no", "é 你好 🙂", "yes yes yes yes", "Yes, it is.", "word " * 100)


class StandInServices:
    """Models that a metric may ask: deterministic stand-ins, so that no model is loaded."""

    scorer_label = "a stand-in"
    retry_before = 0.0

    def __init__(
        self,
        samples: Sequence[Sample] = (),
        folder: Path | None = None,
        needs: Collection[str] | None = None,
        models: Collection[str] | None = None,
    ) -> None:
        """Keep the answers that are scored, and where a metric may keep what it must not buy twice.

        ``needs`` are the models that may be asked for, ``models`` the rows whose models may be; None for all.
        """
        self._samples = samples
        self._folder = folder
        self._needs = needs
        self._models = models

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
        self._asked("scorer", "answer_nll()")
        return [(0.5 * len(sample.text), sample.tokens) for sample in samples]

    def reference_nll(self, samples: Sequence[Sample]) -> list[tuple[float, int]]:
        """Two nats a word of the first reference."""
        self._asked("policy", "reference_nll()")
        counts = [len(sample.references[0].split()) if sample.references else 0 for sample in samples]
        return [(2.0 * count, count) for count in counts]

    def prefix_nll(self, samples: Sequence[Sample]) -> list[list[tuple[float, float]]]:
        """One nat a token, forty of them a reference; each token of the answer before it makes it a tenth worse."""
        self._asked("policy", "prefix_nll()")
        return [
            [(1.0, 1.0 + 0.1 * min(place, len(sample.text.split()))) for place in range(40)]
            if sample.references
            else []
            for sample in samples
        ]

    def text_nll(self, texts: Sequence[str]) -> list[tuple[float, int]]:
        """A nat a vowel and a quarter of one for any other character; one token a word."""
        self._asked("policy", "text_nll()")
        return [(sum(1.0 if c in "aeiou" else 0.25 for c in text), len(text.split())) for text in texts]

    def divergences(self, samples: Sequence[Sample], label: str) -> list[Divergence]:
        """A tenth of a nat a token forward, a fifth in reverse and a whole one of entropy, EOS counted."""
        self._asked("policy", "divergences()")
        if self._models is not None and label not in self._models:
            raise UndeclaredError(
                f"the metric asks for the model of {label!r}, and its registration does not declare that it does",
                expected=f"models_of=({label!r},) in its registration",
            )
        counts = [len(sample.text.split()) + sample.finished for sample in samples]
        return [Divergence(0.1 * count, 0.2 * count, 1.0 * count, count) for count in counts]

    def rewards(self, samples: Sequence[Sample], texts: Sequence[str]) -> list[float]:
        """A tenth a character, less one a character of the prompt."""
        self._asked("reward_model", "rewards()")
        return [0.1 * len(text) - len(sample.prompt) for sample, text in zip(samples, texts, strict=True)]

    def _asked(self, need: str, what: str) -> None:
        if self._needs is not None and need not in self._needs:
            raise UndeclaredError(
                f"the metric uses {what}, and its registration does not declare that it needs {need!r}",
                expected=f"needs=frozenset({{{need!r}}}) in its registration",
            )


def check_metric(
    registration: MetricRegistration,
    options: Mapping[str, Any] | None = None,
    samples: Sequence[Sample] | None = None,
) -> None:
    """Check that a metric gives one value an answer and column, which paired tests rely on.

    The registered columns and no others, in the order of the answers whatever that is; finite or None; the same when
    asked again, and for an answer alone (of a metric that takes several ``draws``: for all those of its prompt);
    nothing changed in the answers; no global random numbers; no answers at all and answers without a reference are not
    errors, and these have no value where the metric declares that it reads references. It reads and asks for nothing
    that its registration does not declare.

    Args:
        registration: the metric.
        options: as a benchmark file would give them.
        samples: further answers, for a metric that reads columns of its own.
    """
    check_registration(registration)
    try:
        _check(registration, options, [*answers(), *(samples or ())])
    except UndeclaredError as error:
        broken(registration, f"{error.what}; expected {error.expected}")


def _check(registration: MetricRegistration, options: Mapping[str, Any] | None, plain: Sequence[Sample]) -> None:
    metric: Metric = build(registration, options)
    resolved: Any = registry_of(registration).resolved("metric", registration.name, options or {})

    def shown(answers: Sequence[Sample]) -> list[Sample]:
        return list(shown_samples(answers, resolved, f"metric {registration.name!r}"))

    every = shown(plain)
    kept = copy.deepcopy(every)
    with rule("one value an answer in each of its columns, finite or None; nothing undeclared read or asked for"):
        with random_numbers_untouched(registration, "scoring"):
            first = _score(registration, options, metric, every)
        if every != kept:
            broken(registration, "it changed the answers")
        if not isinstance(first.signature, str) or not first.signature.strip():
            broken(registration, "its result needs a signature: implementation, version and options")
    with rule("the same when asked again, in the order of the answers"):
        again = _score(registration, options, build(registration, options), every)
        if (again.values, again.corpus, again.signature) != (first.values, first.corpus, first.signature):
            broken(registration, "it gives other values when asked again")
        backwards = _score(registration, options, metric, every[::-1])
        for name, values in first.values.items():
            if list(values) != list(backwards.values[name])[::-1]:
                broken(registration, f"the values of column {name!r} do not follow the order of the answers")
    with rule("the same for an answer alone: rows are compared by answer"):
        _check_alone(registration, options, resolved, metric, every, first)
    with rule("no answers, and answers without a reference, are no errors"):
        _score(registration, options, metric, [])
        (bare,) = shown([_sample(0, "yes", references=())])
        without = _score(registration, options, metric, [bare])
    if "references" not in resolved.reads:
        return
    with rule("no value where there is no reference to compare with, and none in the numbers over all answers"):
        for name, (value,) in without.values.items():
            if value is not None:
                what = f"column {name!r} has the value {value} for an answer without a reference"
                broken(registration, f"{what}: what cannot be scored is missing (None), and never 0")
        mixed = _score(registration, options, metric, [*every, bare])
        for name, number in first.corpus.items():
            if not _equal(number, mixed.corpus.get(name)):
                what = f"corpus number {name!r} changes with an answer that has no value"
                broken(registration, f"{what}: {number} and {mixed.corpus.get(name)}")


def _check_alone(
    registration: MetricRegistration,
    options: Mapping[str, Any] | None,
    resolved: MetricRegistration,
    metric: Metric,
    every: Sequence[Sample],
    first: MetricResult,
) -> None:
    for place, sample in enumerate(every):
        together = [sample] if resolved.draws == 1 else [other for other in every if other.id == sample.id]
        alone, own = _score(registration, options, metric, together), together.index(sample)
        for name, values in first.values.items():
            if not _equal(values[place], alone.values[name][own]):
                seen = f"{values[place]} and {alone.values[name][own]}"
                others = "the other answers" if resolved.draws == 1 else "answers to other prompts"
                what = f"column {name!r}: the value of {sample.text[:20]!r} depends on {others}"
                broken(registration, f"{what} ({seen}), and tests of rows are paired by answer")


def _equal(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


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
    resolved: Any = registry_of(registration).resolved("metric", registration.name, options or {})
    with tempfile.TemporaryDirectory() as folder:
        result = metric.score(samples, StandInServices(samples, Path(folder), resolved.needs, resolved.models_of))
    columns = {column.name for column in resolved.columns}
    if set(result.values) != columns:
        broken(registration, f"it registers the columns {sorted(columns)} and returned {sorted(result.values)}")
    for name, values in result.values.items():
        if len(values) != len(samples):
            broken(registration, f"column {name!r} has {len(values)} values for {len(samples)} answers")
        for value in values:
            if value is not None and not _is_value(value):
                allowed = f"a finite number, at most {LARGEST:g} in size, or None"
                broken(registration, f"column {name!r}: a value is {allowed}, and not {value!r}")
    for name, value in result.corpus.items():
        if not _is_value(value):
            broken(registration, f"corpus number {name!r} is {value!r}: leave out what cannot be computed")
    if samples and (missing := {column.name for column in resolved.corpus} - set(result.corpus)) and len(samples) > 1:
        broken(registration, f"it registers the corpus numbers {sorted(missing)} and returned none")
    return result


def _is_value(value: object) -> bool:
    return isinstance(value, (int, float)) and abs(value) <= LARGEST
