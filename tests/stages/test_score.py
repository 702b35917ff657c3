"""Scores: a value an answer, missing where it is missing, and never a number that is none."""

from __future__ import annotations

import dataclasses
import math
import shutil
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from stages import configs
from stages.requests import request, silent

from harness.api import Column, MetricRegistration, MetricResult, MetricServices, NoOptions, Sample
from harness.errors import StageError
from harness.spec.results.score import ScoreSummary
from harness.stages import score
from harness.store.stages import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from harness.store.records import Record

ROWS: list[dict[str, Any]] = [
    {"id": "a", "fields": {"instruction": "Q", "context": "C"}, "completion": "gold", "references": [],
     "chosen": None, "rejected": None, "columns": {"category": "x"}},
    {"id": "b", "fields": {"instruction": "R", "context": ""}, "completion": None, "references": ["r1", "r2"],
     "chosen": None, "rejected": None, "columns": {}},
]  # fmt: skip
ANSWERS: list[dict[str, Any]] = [
    {"id": name, "draw": draw, "text": f"{name}{draw}", "tokens": 2, "finished": True, "cut": False, "entropy": 1.0}
    for name in ("a", "b")
    for draw in (0, 1)
]


class Fixed:
    """A metric that gives what it is told to."""

    def __init__(self, values: Sequence[float | None], corpus: Mapping[str, float] | None = None) -> None:
        self.values, self.corpus = values, corpus or {}
        self.seen: list[Sample] = []

    def score(self, samples: Sequence[Sample], services: MetricServices) -> MetricResult:
        self.seen = list(samples)
        return MetricResult(values={"c": self.values}, corpus=self.corpus, signature="fixed")


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Any], Record]:
    store = Store(tmp_path)
    parents = {}
    for kind, name, file, content in [
        ("prepare", "rows", "rows.jsonl", ROWS),
        ("generate", "samples", "samples.jsonl", ANSWERS),
    ]:
        with store.draft(kind, kind) as draft:
            draft.write_jsonl(file, content)
            parents[name] = store.commit(draft, config={}, environment={}, label=kind)

    registration = MetricRegistration(
        name="fixed",
        summary="What it is told",
        options=NoOptions,
        build="nowhere:Fixed",
        reads=("references", "category"),
        role="score",
        columns=(Column("c", "C", higher_is_better=True),),
        corpus=(Column("whole", "Whole", higher_is_better=True), Column("w", "W", higher_is_better=True)),
    )

    def run(metric: Any) -> Record:
        class Plugins:
            def build(self, kind: str, name: str, options: Any) -> Any:
                return metric

            def resolved(self, kind: str, name: str, options: Any) -> Any:
                return registration

            def find(self, kind: str, name: str) -> Any:
                return SimpleNamespace(named="metric 'fixed'")

        plugins: Any = Plugins()
        asked = request(tmp_path, configs.score_config("fixed"), **parents)
        return score.run(asked, store, plugins, silent)

    return run


def test_values_are_kept_by_answer_and_missing_ones_stay_missing(run: Callable[[Any], Record]) -> None:
    record = run(Fixed([0.5, None, None, None], {"whole": 0.25}))
    assert list(record.jsonl("values.jsonl")) == [
        {"id": "a", "draw": 0, "values": {"c": 0.5}},
        {"id": "a", "draw": 1, "values": {}},
        {"id": "b", "draw": 0, "values": {}},
        {"id": "b", "draw": 1, "values": {}},
    ]
    assert record.json("means.json") == {"ids": ["a", "b"], "columns": {"c": [0.5, None]}}
    summary = record.json("metrics.json")
    assert summary["columns"]["c"] == {"present": 1, "missing": 3, "mean": 0.5}
    assert summary["corpus"] == {"whole": 0.25}
    assert summary["signature"] == "fixed"


def test_what_a_metric_says_of_its_answers_is_kept(run: Callable[[Any], Record]) -> None:
    class Noting(Fixed):
        def __init__(self, notes: Any) -> None:
            super().__init__([None] * 4)
            self.notes = notes

        def score(self, samples: Sequence[Sample], services: MetricServices) -> MetricResult:
            return dataclasses.replace(super().score(samples, services), notes=self.notes)

    said = {"in a script that it cannot read": 3}
    assert run(Noting(said)).read(ScoreSummary).notes == said
    for wrong in ({"many": "3"}, {3: 3}, ["many"], {"many": True}):
        with pytest.raises(StageError, match="the metric's notes are not texts with numbers of answers"):
            run(Noting(wrong))


def test_a_column_without_any_value_has_no_mean(run: Callable[[Any], Record]) -> None:
    summary = run(Fixed([None] * 4)).json("metrics.json")
    assert summary["columns"]["c"] == {"present": 0, "missing": 4}


def test_a_metric_sees_the_answer_beside_its_row(run: Callable[[Any], Record]) -> None:
    metric = Fixed([0.0] * 4)
    run(metric)
    first, last = metric.seen[0], metric.seen[-1]
    assert (first.prompt, first.text, first.references) == ("Q\nC", "a0", ("gold",))
    assert first.columns == {"category": "x", "fields": {"instruction": "Q", "context": "C"}}
    assert (last.id, last.draw, last.references) == ("b", 1, ("r1", "r2"))


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, 1e39, -1e308])
def test_numbers_that_tables_cannot_reckon_with_are_refused(run: Callable[[Any], Record], wrong: float) -> None:
    with pytest.raises(StageError, match=r"column 'c' for answer b \(draw 0\)"):
        run(Fixed([0.0, 1.0, wrong, 0.0]))
    with pytest.raises(StageError, match="for the whole of 'w'"):
        run(Fixed([0.0] * 4, {"w": wrong}))


def test_a_value_too_few_is_refused(run: Callable[[Any], Record]) -> None:
    with pytest.raises(StageError, match=r"column 'c' of the metric has 3 values.*expected 4"):
        run(Fixed([0.0] * 3))


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (None, "the metric gave no result, got 'None'; expected a MetricResult"),
        ({"c": [0.0] * 4}, "the metric gave no result, got 'dict'"),
        (MetricResult(values=[0.0] * 4), "values of the metric's result is not a mapping, got 'list'"),  # type: ignore[arg-type]
        (MetricResult(values={}, corpus=None), "corpus of the metric's result is not a mapping, got 'None'"),  # type: ignore[arg-type]
        (MetricResult(values={"c": [0.0] * 4}, signature=None), "signature is not a text, got 'None'"),  # type: ignore[arg-type]
        (MetricResult(values={"c": None}), "column 'c' of the metric is not a list, got 'None'"),  # type: ignore[dict-item]
        (MetricResult(values={"c": "0123"}), "column 'c' of the metric is not a list, got 'str'"),  # type: ignore[dict-item]
        (MetricResult(values={"c": 0.5}), "column 'c' of the metric is not a list, got 'float'"),  # type: ignore[dict-item]
        (MetricResult(values={"c": [0.0, "1", 2.0, 3.0]}), r"gave '1' in column 'c' for answer a \(draw 1\)"),  # type: ignore[list-item]
        (MetricResult(values={"c": [0.0, [1.0], 2.0, 3.0]}), r"gave \[1.0\] in column 'c' for answer a \(draw 1\)"),  # type: ignore[list-item]
        (MetricResult(values={"c": [0.0, 10**400, 2.0, 3.0]}), r"in column 'c' for answer a \(draw 1\)"),
        (MetricResult(values={"c": [0.0] * 4}, corpus={"whole": None}), "gave None for the whole of 'whole'"),  # type: ignore[dict-item]
        (MetricResult(values={"c": [0.0] * 4, "C": [1.0] * 4}), "did not register: 'C' in values; expected one of 'c'"),
        (MetricResult(values={"whole": [0.0] * 4}), "did not register: 'whole' in values; expected one of 'c'"),
        (MetricResult(values={}, corpus={"hole": 1.0}), "'hole' in corpus; expected .*; did you mean 'whole'?"),
    ],
)  # fmt: skip
def test_what_is_no_result_is_one_message(run: Callable[[Any], Record], result: Any, message: str) -> None:
    class Giving:
        def score(self, samples: Sequence[Sample], services: MetricServices) -> Any:
            return result

    with pytest.raises(StageError, match=message) as caught:
        run(Giving())
    assert str(caught.value).startswith("a score stage: ")


def test_values_may_come_in_anything_that_has_an_order(run: Callable[[Any], Record]) -> None:
    for values in (np.array([0.5, 1.0, 0.0, 0.0]), (value for value in (0.5, 1.0, 0.0, 0.0)), (0.5, True, 0, 0)):
        record = run(Fixed(values))  # type: ignore[arg-type]
        assert record.json("means.json")["columns"]["c"] == [0.75, 0.0]
        record.folder.rename(record.folder.with_name("done"))
        shutil.rmtree(record.folder.with_name("done"))


@pytest.mark.parametrize(
    ("ask", "need"), [("answer_nll", "scorer"), ("reference_nll", "policy"), ("text_nll", "policy")]
)
def test_a_metric_gets_no_model_that_it_did_not_register(run: Callable[[Any], Record], ask: str, need: str) -> None:
    class Asking:
        def score(self, samples: Sequence[Sample], services: MetricServices) -> MetricResult:
            getattr(services, ask)(samples)
            raise AssertionError

    with pytest.raises(StageError, match="asked for a model for 4 answers") as caught:
        run(Asking())
    assert f"needs={{'{need}'}}" in str(caught.value)
