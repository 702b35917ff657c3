"""Which weights stay once a benchmark is done, and what that means for what is evaluated later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from plan.files import Planner, small

from harness.execution.keep import prune, required
from harness.spec.stages.rows import RowsConfig

if TYPE_CHECKING:
    from pathlib import Path

    from harness.plan import Plan, Stage
    from harness.store.stages import Store

WEIGHTS = ("checkpoint/model.safetensors", "modules.safetensors", "optimizer.safetensors")


def finished(store: Store, plan: Plan) -> None:
    """Put something into the store for each stage of a plan."""
    for stage in plan.stages.values():
        points = stage.config.budget.points if stage.config.kind == "train" and stage.config.budget else ()
        names = (*WEIGHTS, *(f"points/{point.folder}/model.safetensors" for point in points))
        with store.draft(stage.kind, stage.id or "") as draft:
            for name in names if stage.kind == "train" else ("result.json",):
                (draft.folder / name).parent.mkdir(parents=True, exist_ok=True)
                (draft.folder / name).write_text("1", encoding="utf-8")
            if not isinstance(stage.config, RowsConfig):
                store.commit(draft, config=stage.config.to_json(), environment={}, label=stage.label)


def own_part(plan: Plan, label: str) -> Stage:
    """Return the stage in which a method spends its budget."""
    return next(row.chain[-1] for row in plan.rows if row.label == label)


@pytest.mark.parametrize("keep", ["final", "none"])
@pytest.mark.parametrize(("unit", "again"), [("seconds", False), ("steps", True)])
def test_what_a_clock_ended_is_never_trained_again_for_more_data(
    planner: Planner, data: Path, tmp_path: Path, *, unit: str, again: bool, keep: str
) -> None:
    own = Planner(tmp_path, planner.registry)
    recipe: dict[str, Any] = {"budget": {"unit": unit, "amount": 4, "checkpoints": [0.5]}, "keep": keep}
    recipe |= {"batch_size": 2, "max_prompt_length": 48, "max_completion_length": 24}
    content = small(data, seeds=[0], recipe=recipe)
    finished(own.store, own.plan(own.load(content)))
    benchmark = own.load(content)
    plan = own.plan(benchmark)
    assert required(plan, own.store) == []
    prune(plan, benchmark, own.store)
    trained = own_part(plan, "eso")
    record = own.store.open("train", trained.id or "")
    assert not record.holds("optimizer.safetensors")
    assert record.holds("points/share-0.5") == (not again)
    more = {"dataset": "files", "path": str(data), "label": "more", "split": "validation"}
    needed = required(own.plan(own.load({**content, "evaluate": [*content["evaluate"], more]})), own.store)
    assert {stage.label.split("/")[1] for stage in needed if stage.kind == "generate"} >= {"eso", "eso at 50 %"}
    assert (trained.key in {stage.key for stage in needed}) == again
