"""Two runs of the same training on one store, which share what its unfinished state keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from plan.files import Planner, small, write_rows

from harness.plan import build_plan
from harness.plugins.loader import load_registry
from harness.stages.request import Parent, StageRequest
from harness.stages.run import run_stage
from harness.training.points import PointCheckpoints

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.store.stages import Store


def requests(folder: Path, budget: dict[str, Any]) -> tuple[Store, Iterator[StageRequest[Any]]]:
    """Return a request for each stage of a supervised row with a budget, its data prepared."""
    planner = Planner(folder, load_registry())
    content = small(write_rows(folder / "data"), seeds=[0], methods=["sft"])
    content["recipe"] = {**content["recipe"], "epochs": 1, "budget": budget}
    planner.plan(planner.load(content))
    plan = build_plan(planner.load(content), planner.registry, planner.store)
    return planner.store, (
        StageRequest(
            stage.id or "",
            stage.label,
            stage.config,
            {name: Parent(of.kind, plan.stages[of.key].id or "") for name, of in stage.parents.items()},
            stage.runtime.model_copy(update={"threads": 1, "device": "cpu"}),
            planner.store.root,
        )
        for stage in plan.stages.values()
        if stage.kind in {"prepare", "train"}
    )


def run(request: StageRequest[Any]) -> Any:
    return run_stage(request, lambda _done, _total, _unit, _note: None)


@pytest.mark.filterwarnings("ignore:training ended")  # how many steps a busy machine does in a time is not tried here
@pytest.mark.parametrize(("unit", "amount"), [("steps", 2), ("seconds", 0.3)])
def test_the_second_to_finish_takes_what_the_first_one_has_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unit: str, amount: float
) -> None:
    hand_over, first = PointCheckpoints.hand_over, []
    store, asked = requests(tmp_path, {"unit": unit, "amount": amount, "checkpoints": [0.5]})
    *before, trained = asked
    for request in before:
        run(request)

    def overtaken(points: PointCheckpoints, folder: Path) -> None:
        with monkeypatch.context() as other:
            other.setattr(PointCheckpoints, "hand_over", hand_over)
            first.append(run(trained))
        hand_over(points, folder)

    monkeypatch.setattr(PointCheckpoints, "hand_over", overtaken)
    record = run(trained)
    assert record.manifest == first[0].manifest
    assert record.holds("points/share-0.5")
    assert not store.scratch(record.kind, record.id).exists()
