"""A metric that asks other rows' models: parents of its stages, and what is said where there are none."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from plan.files import Planner, small

from harness.api import MetricRegistration
from harness.errors import InputErrors, PluginError
from harness.plugins.checks import check_registration

if TYPE_CHECKING:
    from pathlib import Path

DIVERGENCE = {"use": "divergence", "to": "sft"}


def test_it_asks_the_model_of_the_same_seed(planner: Planner, data: Path) -> None:
    plan = planner.plan(planner.load(small(data, metrics=["rouge", DIVERGENCE])))
    for row in plan.rows:
        there = next(r for r in plan.rows if (r.label, r.seed) == ("sft", row.seed))
        for cell in row.cells:
            parents = cell.scores["divergence"].parents
            assert parents["model:sft"] is there.checkpoint
            assert parents["opponent:sft"] is there.cells[0].generate
            assert parents["policy"] is row.checkpoint
    order = list(plan.stages)
    assert all(order.index(p.key) < order.index(s.key) for s in plan.stages.values() for p in s.parents.values())


def test_it_adds_no_training_and_no_answers(planner: Planner, data: Path) -> None:
    def others(content: dict[str, Any]) -> set[str | None]:
        plan = planner.plan(planner.load(content))
        return {s.id for s in plan.stages.values() if not any(u.name == "divergence" for _, u in s.config.plugins())}

    assert others(small(data)) == others(small(data, metrics=["rouge", DIVERGENCE]))


def test_another_row_is_another_result(planner: Planner, data: Path) -> None:
    plans = [
        planner.plan(planner.load(small(data, metrics=[{"use": "divergence", "to": to}]))) for to in ("base", "sft")
    ]
    ids = [{cell.scores["divergence"].id for row in plan.rows for cell in row.cells} for plan in plans]
    assert not ids[0] & ids[1]


def test_a_row_that_is_not_there(planner: Planner, data: Path) -> None:
    with pytest.raises(InputErrors) as caught:
        planner.load(small(data, metrics=["rouge", {"use": "divergence", "to": "stf"}]))
    assert [str(error) for error in caught.value.errors if "no row has this label" in str(error)] == [
        str(error) for error in caught.value.errors
    ]
    assert len(caught.value.errors) == 1
    assert "metrics.divergence: no row has this label, got \"stf\"; did you mean 'sft'?" in str(caught.value)


def test_nothing_is_tuned_by_it(planner: Planner, data: Path) -> None:
    content = small(
        data, metrics=["rouge", DIVERGENCE], validation={"dataset": "files", "path": str(data)},
        methods=["sft", {"use": "eso", "label": "tuned"}],
        tune={"options": {"methods.tuned.coef": [0.1, 0.2]}, "metric": "divergence.forward_kl"},
    )  # fmt: skip
    with pytest.raises(InputErrors, match="it compares rows with each other"):
        planner.load(content)


def test_the_models_of_rows_are_compared_with_the_policy(planner: Planner) -> None:
    registration: Any = planner.registry.get("metric", "divergence")
    assert isinstance(registration, MetricRegistration)
    check_registration("metric", registration)
    alone = replace(registration, models_of=("sft",), needs=frozenset())
    with pytest.raises(PluginError, match="are compared with the policy"):
        check_registration("metric", alone)


def test_two_models_are_held_at_a_time(planner: Planner, data: Path) -> None:
    from harness.plan.memory import MemoryEstimate

    plan = planner.plan(planner.load(small(data, metrics=["reference-loss", DIVERGENCE])))
    memory = MemoryEstimate(plan, planner.registry, "cpu")
    cell = plan.rows[-1].cells[0]
    one, two = (memory.of(cell.scores[name]) for name in ("reference-loss", "divergence"))
    assert one is not None
    assert two is not None
    assert two.parts["weights"] == 2 * one.parts["weights"]
