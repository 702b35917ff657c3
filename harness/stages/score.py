"""``score``: what one metric says of the answers of one ``generate`` stage."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from harness.api import Example, Metric, MetricResult, Sample
from harness.errors import StageError, suggest
from harness.plugins.reading import shown_samples
from harness.plugins.runtime_options import join_options
from harness.stages.rows import read
from harness.stages.shared import SharedServices
from harness.store.environment import fingerprint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.api import Column, MetricRegistration
    from harness.plugins import Registry
    from harness.stages.order import Order, Tell
    from harness.store import Record, Store

VALUES = "values.jsonl"
SUMMARY = "metrics.json"
MEANS = "means.json"


def run(order: Order, store: Store, registry: Registry, tell: Tell) -> Record:
    """Score the answers and store one value a sample and column; a missing value stays missing."""
    config = order.config
    options = join_options(config["options"], order.runtime.get("options", {}))
    metric = registry.build("metric", config["metric"], options)
    registration: Any = registry.resolved("metric", config["metric"], options)
    where = registry.find("metric", config["metric"]).named

    def shown(parent: str = "samples") -> list[Sample]:
        return list(shown_samples(read_samples(order, store, parent), registration, where))

    samples = shown()
    tell(0, len(samples), "answer", "")
    needs_model = {"policy", "scorer", "reward_model"} & set(order.parents)
    shared = (order, store, tell, samples, shown)
    if needs_model:
        from harness.stages.nll import ModelServices

        services: Any = ModelServices(*shared)
        environment = services.environment
    else:
        services = NoServices(*shared)
        environment = fingerprint(threads=order.runtime["threads"], device="cpu", ranks=1)
    declared = {part: [column.name for column in found] for part, found in _registered(registration).items()}
    result = _score(metric, samples, services, order.label, declared)
    with store.draft(order.kind, order.id) as draft:
        draft.write_jsonl(VALUES, _rows(samples, result))
        draft.write_json(MEANS, _means(samples, result))
        draft.write_json(SUMMARY, {**_summary(config["metric"], result), "cut": services.cut})
        replace = order.runtime.get("replace", False)
        record = draft.commit(config=config, environment=environment, label=order.label, replace=replace)
    services.discard_parts()
    return record


def _registered(registration: MetricRegistration) -> dict[str, Sequence[Column]]:
    return {"values": registration.columns, "corpus": registration.corpus}


def read_samples(order: Order, store: Store, parent: str = "samples") -> list[Sample]:
    """Join the stored answers of a parent with their rows, by id."""
    rows: dict[str, Example] = {e.id: e for e in read(store.open("prepare", order.parents["rows"].id))}
    answers = store.open("generate", order.parents[parent].id).jsonl("samples.jsonl")
    samples = []
    for answer in answers:
        example = rows[answer["id"]]
        references = example.references or ((example.demonstration,) if example.demonstration is not None else ())
        samples.append(
            Sample(
                id=answer["id"],
                draw=answer["draw"],
                prompt="\n".join(text for text in example.fields.values() if text),
                text=answer["text"],
                tokens=answer["tokens"],
                finished=answer["finished"],
                references=references,
                columns={**example.columns, "fields": example.fields},
            )
        )
    return samples


class NoServices(SharedServices):
    """For metrics that registered no need of a model."""

    scorer_label = ""
    cut: ClassVar[dict[str, int]] = {}

    def answer_nll(self, samples: Sequence[Sample]) -> Sequence[tuple[float, int]]:
        """Refuse."""
        raise self._refusal("scorer", len(samples))

    def reference_nll(self, samples: Sequence[Sample]) -> Sequence[tuple[float, int]]:
        """Refuse."""
        raise self._refusal("policy", len(samples))

    def prefix_nll(self, samples: Sequence[Sample]) -> Sequence[Sequence[tuple[float, float]]]:
        """Refuse."""
        raise self._refusal("policy", len(samples))

    def rewards(self, samples: Sequence[Sample], texts: Sequence[str]) -> Sequence[float]:  # noqa: ARG002  # refused
        """Refuse."""
        raise self._refusal("reward_model", len(samples))

    def _refusal(self, need: str, count: int) -> StageError:
        return StageError(
            f"the metric asked for a model for {count} answers",
            where=self._order.label,
            expected=f"needs={{{need!r}}} in its registration",
        )


def _score(
    metric: Metric, samples: list[Sample], services: Any, label: str, declared: Mapping[str, Sequence[str]]
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
        raise StageError("the metric's signature is no text", where=label, got=_kind(result.signature))
    for part, known in declared.items():
        columns = getattr(result, part)
        if not isinstance(columns, Mapping):
            expected = "a mapping from names of columns"
            what = f"{part} of the metric's result is no mapping"
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
        if not _finite(number):
            raise StageError(
                f"the metric gave {number!r} for the whole of {column!r}",
                where=label,
                expected="a finite number; a column that has no value is left out",
            )
    return MetricResult(
        {column: _values(column, values, samples, label) for column, values in result.values.items()},
        result.corpus,
        result.signature,
    )


def _values(column: str, values: Any, samples: list[Sample], label: str) -> list[float | None]:
    """Return the values of a column, which may come in anything that has an order."""
    if isinstance(values, (str, bytes, Mapping, set, frozenset)) or not isinstance(values, Iterable):
        what = f"column {column!r} of the metric is no list"
        raise StageError(what, where=label, got=_kind(values), expected="one value for each answer, in their order")
    listed = list(values)
    if len(listed) != len(samples):
        raise StageError(
            f"column {column!r} of the metric has {len(listed)} values", where=label, expected=f"{len(samples)}"
        )
    for sample, value in zip(samples, listed, strict=True):
        if value is not None and not _finite(value):
            raise StageError(
                f"the metric gave {value!r} in column {column!r} for answer {sample.id} (draw {sample.draw})",
                where=label,
                expected="a finite number, or None where there is no value",
            )
    return listed


def _finite(value: Any) -> bool:
    """Return whether a value is a number that a file can hold: of Python, of numpy, or a tensor's only one."""
    if isinstance(value, (str, bytes)):
        return False
    try:
        return math.isfinite(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return False


def _kind(value: Any) -> str:
    return "None" if value is None else type(value).__name__


def _rows(samples: list[Sample], result: MetricResult) -> list[dict[str, Any]]:
    return [
        {
            "id": sample.id,
            "draw": sample.draw,
            "values": {c: float(v) for c, values in result.values.items() if (v := values[index]) is not None},
        }
        for index, sample in enumerate(samples)
    ]


def _means(samples: list[Sample], result: MetricResult) -> dict[str, Any]:
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
    return {"ids": list(places), "columns": columns}


def _summary(name: str, result: MetricResult) -> dict[str, Any]:
    columns = {}
    for column, values in result.values.items():
        present = [float(value) for value in values if value is not None]
        columns[column] = {"present": len(present), "missing": len(values) - len(present)}
        if present:
            columns[column]["mean"] = math.fsum(present) / len(present)  # type: ignore[assignment]  # counts and a mean
    found = {"metric": name, "signature": result.signature, "corpus": dict(result.corpus), "columns": columns}
    return found | ({"notes": dict(result.notes)} if result.notes else {})
