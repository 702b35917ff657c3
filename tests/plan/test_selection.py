"""A part of a plan: what `--only` says, and which stages that comes to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from plan.files import Planner, small

from harness.errors import InputError
from harness.plan.selection import Selection, selection

if TYPE_CHECKING:
    from pathlib import Path

    from harness.plan import Plan


@pytest.fixture(scope="module")
def plan(planner: Planner, data: Path) -> Plan:
    methods = ["sft", "eso", {"use": "eso", "label": "low", "coef": 0.1}]
    evaluate = [
        {"dataset": "files", "path": str(data), "label": name, "split": name} for name in ("test", "validation")
    ]
    return planner.plan(planner.load(small(data, methods=methods, evaluate=evaluate)))


def test_keys_and_lists(plan: Plan) -> None:
    assert selection([], plan) is None
    assert selection(["methods=eso,sft,seeds=0"], plan) == Selection(methods=("eso", "sft"), seeds=(0,))
    assert selection(["seeds=1", "data=test", "seeds=0,1"], plan) == Selection(seeds=(1, 0), data=("test",))
    assert selection(["models = new"], plan) == Selection(models=("new",))


def test_a_part_needs_what_it_is_made_from_and_all_data(plan: Plan) -> None:
    chosen = Selection(methods=("eso",), seeds=(1,), data=("test",))
    needed = chosen.needed(plan)
    for key in needed:
        assert {parent.key for parent in plan.stages[key].parents.values()} <= needed
    (row,) = chosen.rows(plan)
    assert {stage.key for stage in row.chain} <= needed
    assert {plan.train.key, *(stage.key for stage in plan.evaluations.values())} <= needed
    cells = {cell.dataset: cell.generate.key in needed for cell in row.cells}
    assert cells == {"test": True, "validation": False}
    others = [other for other in plan.rows if other.label not in {"eso", "sft"} and other.seed == 1]
    assert not any(cell.generate.key in needed for other in others for cell in other.cells)
    trained = {stage.label for stage in plan.stages.values() if stage.kind == "train" and stage.key in needed}
    assert len(trained) == len(row.chain)


def test_a_row_is_chosen_with_the_points_of_its_budget(planner: Planner, data: Path) -> None:
    budget = {"unit": "steps", "amount": 4, "checkpoints": [0.5], "steps": [1]}
    content = small(data, methods=["sft", "eso", {"use": "eso", "label": "low", "coef": 0.1}])
    plan = planner.plan(planner.load({**content, "recipe": {**content["recipe"], "budget": budget}}))
    chosen = selection(["methods=eso,seeds=0"], plan)
    assert chosen is not None
    rows = chosen.rows(plan)
    assert [row.label for row in rows] == ["eso", "eso at 50 %", "eso at step 1"]
    assert {cell.generate.key for row in rows for cell in row.cells} <= chosen.needed(plan)
    alone = selection(["methods=eso at 50 %,seeds=0"], plan)
    assert alone is not None
    assert [row.label for row in alone.rows(plan)] == ["eso at 50 %"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "methods=esso",
            "--only methods: the benchmark has no such row, got 'esso'; expected one or more of base, sft, eso",
        ),
        ("seeds=7", "--only seeds: the benchmark has no such seed, got '7'; expected one or more of 0, 1"),
        ("data=tset", "did you mean 'test'?"),
        ("method=eso", "did you mean 'methods=eso'?"),
        ("seeds=0,method=eso", "did you mean 'methods=eso'?"),
        (
            "eso",
            "--only: it is not clear what is chosen by this, got 'eso'; expected KEY=VALUE,VALUE with a key among ",
        ),
        ("methods=", "--only methods: names nothing; expected methods=NAME,NAME"),
        ("methods=eso,", "names nothing"),
    ],
)
def test_what_is_not_there_is_told(plan: Plan, text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        selection([text], plan)
    assert message in str(caught.value)


def test_labels_may_hold_an_equals_sign(planner: Planner, data: Path) -> None:
    methods = ["sft", {"use": "eso", "label": "eso coef=0.1", "coef": 0.1}]
    plan = planner.plan(planner.load(small(data, methods=methods)))
    assert selection(["methods=sft,eso coef=0.1"], plan) == Selection(methods=("sft", "eso coef=0.1"))
