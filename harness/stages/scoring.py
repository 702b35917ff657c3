"""What one metric says of the answers of one ``generate`` stage, whatever it may ask for."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from harness.api import Example, Metric, MetricResult, MetricServices, Sample
from harness.errors import StageError, suggest
from harness.plugins.reading import shown_samples
from harness.plugins.runtime_options import join_options
from harness.spec.results.generate import Answer
from harness.spec.results.score import LARGEST, AnswerValues, ColumnSummary, CutTexts, ScoreMeans, ScoreSummary
from harness.stages.stored_rows import read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from harness.api import Column, MetricRegistration
    from harness.plugins.registry import Registry
    from harness.spec.stages.score import Scoring
    from harness.stages.request import StageRequest, Tell
    from harness.store.records import Record
    from harness.store.stages import Store

MakeServices: TypeAlias = "Callable[[StageRequest[Any], Store, Tell, Sequence[Sample], Read], Services]"
Read: TypeAlias = "Callable[[str], list[Sample]]"


class Services(MetricServices, Protocol):
    """What a metric may ask for, and what a stage asks of that in the end."""

    @property
    def environment(self) -> Mapping[str, Any]:
        """The fingerprint to store beside the result."""

    @property
    def cut(self) -> CutTexts:
        """How many texts were cut that a model read."""

    def discard_parts(self) -> None:
        """Remove what was kept in case that the stage is killed: it is done."""


def score_answers(
    request: StageRequest[Scoring], store: Store, registry: Registry, tell: Tell, make: MakeServices
) -> Record:
    """Score the answers and store one value a sample and column; a missing value stays missing.

    ``make`` gives the services that the metric may ask.
    """
    use = request.config.metric
    options = join_options(use.options, request.runtime.options)
    metric = registry.build("metric", use.name, options)
    registration: Any = registry.resolved("metric", use.name, options)
    where = registry.find("metric", use.name).named

    def shown(parent: str = "samples") -> list[Sample]:
        return list(shown_samples(read_samples(request, store, parent), registration, where))

    samples = shown()
    tell(0, len(samples), "answer", "")
    services = make(request, store, tell, samples, shown)
    declared = {part: [column.name for column in found] for part, found in _registered(registration).items()}
    result = _score(metric, samples, services, request.label, declared)
    with store.draft(request.kind, request.id) as draft:
        draft.write_lines(AnswerValues, _values_of(samples, result))
        draft.write(_means(samples, result))
        draft.write(_summary(use.name, result, services.cut))
        record = store.commit(
            draft,
            config=request.config.to_json(),
            environment=services.environment,
            label=request.label,
            replace=request.runtime.replace,
        )
    services.discard_parts()
    return record


def _registered(registration: MetricRegistration) -> dict[str, Sequence[Column]]:
    return {"values": registration.columns, "corpus": registration.corpus}


def read_samples(request: StageRequest[Scoring], store: Store, parent: str = "samples") -> list[Sample]:
    """Join the stored answers of a parent with their rows, by id."""
    rows: dict[str, Example] = {e.id: e for e in read(store.open("prepare", request.parents["rows"].id))}
    samples = []
    for answer in store.open("generate", request.parents[parent].id).lines(Answer):
        example = rows[answer.id]
        references = example.references or ((example.demonstration,) if example.demonstration is not None else ())
        samples.append(
            Sample(
                id=answer.id,
                draw=answer.draw,
                prompt="\n".join(text for text in example.fields.values() if text),
                text=answer.text,
                tokens=answer.tokens,
                finished=answer.finished,
                references=references,
                columns={**example.columns, "fields": example.fields},
            )
        )
    return samples


def _score(
    metric: Metric, samples: list[Sample], services: Services, label: str, declared: Mapping[str, Sequence[str]]
) -> MetricResult:
    """Ask the metric; what it gives is what it declared, and a finite number for each answer or none.

    Args:
        metric: whom to ask.
        samples: the answers.
        services: what it may ask for.
        label: the stage's.
        declared: names of the columns that it registered, under ``values`` and ``corpus``.
    """
    result: Any = metric.score(samples, services)  # a plugin's: it may be anything
    if not isinstance(result, MetricResult):
        raise StageError("the metric gave no result", where=label, got=_kind(result), expected="a MetricResult")
    if not isinstance(result.signature, str):
        raise StageError("the metric's signature is not a text", where=label, got=_kind(result.signature))
    for part, known in declared.items():
        columns = getattr(result, part)
        if not isinstance(columns, Mapping):
            expected = "a mapping from names of columns"
            what = f"{part} of the metric's result is not a mapping"
            raise StageError(what, where=label, got=_kind(columns), expected=expected)
        for column in columns:
            if column not in known:
                raise StageError(
                    f"the metric gave a column that it did not register: {column!r} in {part}",
                    where=label,
                    expected=f"one of {', '.join(map(repr, known))}" if known else "none",
                    did_you_mean=suggest(str(column), known),
                )
    for column, number in result.corpus.items():
        if not _is_value(number):
            raise StageError(
                f"the metric gave {number!r} for the whole of {column!r}",
                where=label,
                expected=f"a finite number, at most {LARGEST:g} in size; a column that has no value is left out",
            )
    notes = result.notes
    if not isinstance(notes, Mapping) or not all(
        isinstance(text, str) and type(count) is int for text, count in notes.items()
    ):
        raise StageError(
            "the metric's notes are not texts with numbers of answers", where=label, got=_kind(notes),
            expected="a mapping from what a reader must know to how many answers it holds for",
        )  # fmt: skip
    values = {column: _values(column, values, samples, label) for column, values in result.values.items()}
    return dataclasses.replace(result, values=values)


def _values(column: str, values: Any, samples: list[Sample], label: str) -> list[float | None]:
    """Return the values of a column, which may come in anything that has an order."""
    if isinstance(values, (str, bytes, Mapping, set, frozenset)) or not isinstance(values, Iterable):
        what = f"column {column!r} of the metric is not a list"
        raise StageError(what, where=label, got=_kind(values), expected="one value for each answer, in their order")
    listed = list(values)
    if len(listed) != len(samples):
        raise StageError(
            f"column {column!r} of the metric has {len(listed)} values", where=label, expected=f"{len(samples)}"
        )
    for sample, value in zip(samples, listed, strict=True):
        if value is not None and not _is_value(value):
            raise StageError(
                f"the metric gave {value!r} in column {column!r} for answer {sample.id} (draw {sample.draw})",
                where=label,
                expected=f"a finite number, at most {LARGEST:g} in size, or None where there is no value",
            )
    return listed


def _is_value(value: Any) -> bool:
    """Return whether a value is a number that tables can reckon with: of Python, of numpy, or a tensor's only one."""
    if isinstance(value, (str, bytes)):
        return False
    try:
        return abs(float(value)) <= LARGEST  # not where it is no number
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return False


def _kind(value: Any) -> str:
    return "None" if value is None else type(value).__name__


def _values_of(samples: list[Sample], result: MetricResult) -> Iterator[AnswerValues]:
    for index, sample in enumerate(samples):
        values = {c: float(v) for c, values in result.values.items() if (v := values[index]) is not None}
        yield AnswerValues(id=sample.id, draw=sample.draw, values=values)


def _means(samples: list[Sample], result: MetricResult) -> ScoreMeans:
    """Return each example's mean over its draws, by column: what reports read instead of every value."""
    places: dict[str, list[int]] = {}
    for index, sample in enumerate(samples):
        places.setdefault(sample.id, []).append(index)
    columns = {}
    for column, values in result.values.items():
        means: list[float | None] = []
        for indices in places.values():
            present = [float(value) for index in indices if (value := values[index]) is not None]
            means.append(math.fsum(present) / len(present) if present else None)
        columns[column] = means
    return ScoreMeans(ids=list(places), columns=columns)


def _summary(name: str, result: MetricResult, cut: CutTexts) -> ScoreSummary:
    columns = {}
    for column, values in result.values.items():
        present = [float(value) for value in values if value is not None]
        mean = math.fsum(present) / len(present) if present else None
        columns[column] = ColumnSummary(present=len(present), missing=len(values) - len(present), mean=mean)
    return ScoreSummary(
        metric=name,
        signature=result.signature,
        corpus={column: float(number) for column, number in result.corpus.items()},
        columns=columns,
        notes=dict(result.notes),
        cut=cut,
    )
