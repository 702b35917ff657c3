"""A training stage says what its schedule cannot do with the steps that it has."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import pytest
from plan.files import Planner, small, write_rows

from harness.plan import build_plan
from harness.plugins.loader import load_registry
from harness.stages.request import Parent, StageRequest
from harness.stages.run import run_stage

if TYPE_CHECKING:
    from pathlib import Path


def warned(folder: Path, warmup: int) -> list[str]:
    """Make the stages of a supervised row, and return what they warn of."""
    planner = Planner(folder, load_registry())
    content = small(write_rows(folder / "data"), seeds=[0], methods=["sft"])
    content["recipe"] = {**content["recipe"], "method_epochs": 3, "warmup_steps": warmup}
    benchmark = planner.load(content)
    heard: list[str] = []
    planner.plan(benchmark)
    plan = build_plan(benchmark, planner.registry, planner.store)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for stage in plan.stages.values():
            if stage.kind in {"prepare", "train"} and not stage.done:
                parents = {name: Parent(of.kind, plan.stages[of.key].id or "") for name, of in stage.parents.items()}
                runtime = stage.runtime.model_copy(update={"threads": 1, "device": "cpu"})
                request = StageRequest(stage.id or "", stage.label, stage.config, parents, runtime, planner.store.root)
                run_stage(request, lambda _done, _total, _unit, _note: None)
    heard += [str(one.message) for one in caught if "steps that it has" in str(one.message)]
    return heard


@pytest.mark.parametrize(("warmup", "said"), [(500, 1), (2, 0)])
def test_of_a_warmup_that_never_ends(tmp_path: Path, warmup: int, said: int) -> None:
    found = warned(tmp_path, warmup)
    assert len(found) == said
    assert all(text.startswith("a warm-up of 500 steps is longer than the 6 steps that it has") for text in found)
