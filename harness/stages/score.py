"""``score``: what one metric says of the answers of one ``generate`` stage."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

from harness.api import Example, Metric, MetricResult, Sample
from harness.errors import StageError
from harness.plugins.runtime_options import join_options
from harness.stages.rows import read
from harness.stages.shared import SharedServices
from harness.store.environment import fingerprint

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    samples = read_samples(order, store)
    tell(0, len(samples), "answer", "")
    needs_model = {"policy", "scorer", "reward_model"} & set(order.parents)
    shared = (order, store, tell, samples, functools.partial(read_samples, order, store))
    if needs_model:
        from harness.stages.nll import ModelServices

        services: Any = ModelServices(*shared)
        environment = services.environment
    else:
        services = NoServices(*shared)
        environment = fingerprint(threads=order.runtime["threads"], device="cpu", ranks=1)
    result = _score(metric, samples, services, order.label)
    with store.draft(order.kind, order.id) as draft:
        draft.write_jsonl(VALUES, _rows(samples, result))
        draft.write_json(MEANS, _means(samples, result))
        draft.write_json(SUMMARY, _summary(config["metric"], result))
        replace = order.runtime.get("replace", False)
        record = draft.commit(config=config, environment=environment, label=order.label, replace=replace)
    services.discard_parts()
    return record


def read_samples(order: Order, store: Store, parent: str = "samples") -> list[Sample]:
    """Join the stored answers of a parent with their rows, by id."""
    rows: dict[str, Example] = {e.id: e for e in read(store.open("prepare", order.parents["rows"].id))}
    answers = store.open("generate", order.parents[parent].id).jsonl("samples.jsonl")
    samples = []
    for answer in answers:
        example = rows[answer["id"]]
        references = example.references or ((example.completion,) if example.completion is not None else ())
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


def _score(metric: Metric, samples: list[Sample], services: Any, label: str) -> MetricResult:
    result = metric.score(samples, services)
    for column, number in result.corpus.items():
        if not math.isfinite(number):
            raise StageError(
                f"the metric gave {number} for the whole of {column!r}",
                where=label,
                expected="a finite number; a column that has no value is left out",
            )
    for column, values in result.values.items():
        if len(values) != len(samples):
            raise StageError(
                f"column {column!r} of the metric has {len(values)} values", where=label, expected=f"{len(samples)}"
            )
        for sample, value in zip(samples, values, strict=True):
            if value is not None and not math.isfinite(value):
                raise StageError(
                    f"the metric gave {value} in column {column!r} for answer {sample.id} (draw {sample.draw})",
                    where=label,
                    expected="a finite number, or None where there is no value",
                )
    return result


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
    return {"metric": name, "signature": result.signature, "corpus": dict(result.corpus), "columns": columns}
