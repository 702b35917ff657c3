"""Which weights stay once a benchmark is done, and what that means for what is evaluated later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from plan.files import Planner, release, small

from harness.execution.keep import required
from harness.execution.order import Order
from harness.execution.release import Releases
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
    release(plan, benchmark, own.store)
    trained = own_part(plan, "eso")
    record = own.store.open("train", trained.id or "")
    assert not record.holds("optimizer.safetensors")
    assert record.holds("points/share-0.5") == (not again)
    more = {"dataset": "files", "path": str(data), "label": "more", "split": "validation"}
    needed = required(own.plan(own.load({**content, "evaluate": [*content["evaluate"], more]})), own.store)
    assert {stage.label.split("/")[1] for stage in needed if stage.kind == "generate"} >= {"eso", "eso at 50 %"}
    assert (trained.key in {stage.key for stage in needed}) == again


@pytest.mark.parametrize("keep", ["final", "none"])
def test_weights_go_when_everything_that_reads_them_is_done(
    planner: Planner, data: Path, tmp_path: Path, keep: str
) -> None:
    own = Planner(tmp_path, planner.registry)
    recipe = {"epochs": 3, "batch_size": 2, "max_prompt_length": 48, "max_completion_length": 24, "keep": keep}
    benchmark = own.load(small(data, seeds=[0], recipe=recipe))
    plan = own.plan(benchmark)
    releases = Releases(benchmark, own.store)
    releases.planned(plan)
    chains = {row.label: row.chain for row in plan.rows}
    start, eso = chains["eso"][0], chains["eso"][-1]
    done = {stage.key for stage in plan.stages.values() if stage.kind == "prepare"} | {start.key}
    assert list(releases.due(done)) == []
    done |= {stage.key for row in plan.rows for stage in row.chain}
    assert list(releases.due(done)) == ([("train", start.id)] if keep == "none" else [])  # methods start there
    mine = [cell for row in plan.rows if row.label == "eso" for cell in row.cells]
    done |= {cell.generate.key for cell in mine}
    done |= {score.key for cell in mine for score in cell.scores.values()}
    assert ("train", eso.id) in set(releases.due(done))
    assert ("train", chains["sft"][-1].id) not in set(releases.due(done))
    finished(own.store, plan)
    releases.release(done)
    record = own.store.open("train", eso.id or "")
    assert record.holds("checkpoint/model.safetensors") == (keep == "final")
    assert not record.holds("optimizer.safetensors")
    assert own.store.open("train", chains["sft"][-1].id or "").holds("optimizer.safetensors")
    assert list(releases.due(done)) == []  # once
    releases.made(eso)
    assert list(releases.due(done)) == [("train", eso.id)]  # but again after it was made again


def test_trials_keep_their_weights_until_one_is_chosen(planner: Planner, data: Path, tmp_path: Path) -> None:
    own = Planner(tmp_path, planner.registry)
    tune = {"options": {"methods.eso.coef": [0.1, 0.2]}, "metric": "rouge.rougeL", "seeds": [0]}
    content = small(data, validation={"dataset": "files", "path": str(data), "split": "validation"}, tune=tune)
    content["recipe"] |= {"keep": "none"}
    benchmark = own.load(content)
    plan = own.plan(benchmark)
    releases = Releases(benchmark, own.store)
    releases.planned(plan)
    (tuned,) = plan.tuned.values()
    trained = {score.parents["samples"].parents["checkpoint"].id for trial in tuned.trials for score in trial.scores}
    assert len(trained) == 2
    last = {score.key for score in tuned.trials[-1].scores}
    assert trained.isdisjoint(id_ for _, id_ in releases.due(plan.stages.keys() - last))
    assert trained <= {id_ for _, id_ in releases.due(plan.stages.keys())}


def test_what_is_trained_is_evaluated_before_more_is_trained(planner: Planner, data: Path) -> None:
    plan = planner.plan(planner.load(small(data)))
    order = Order(plan)
    start = next(row.chain[0] for row in plan.rows if row.label == "eso")
    places = {stage.key: order(stage) for stage in plan.stages.values()}
    evaluating = {places[stage.key] for stage in plan.stages.values() if stage.kind in {"generate", "score"}}
    ends = {places[row.chain[-1].key] for row in plan.rows if row.chain}
    assert places[start.key] < min(evaluating) <= max(evaluating) < min(ends)
