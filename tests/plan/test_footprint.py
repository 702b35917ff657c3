"""How much disk a run needs at its worst moment and in the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from plan.files import Planner, small

from harness.execution.footprint import footprint, free_bytes, lack_of_disk
from harness.store.stages import Store

if TYPE_CHECKING:
    from pathlib import Path

    from harness.plan import Stage

#: Bytes of a training stage; everything else is nothing here.
TRAINED = 300


def size(stage: Stage) -> int:
    return TRAINED if stage.kind == "train" else 0


def asked(planner: Planner, data: Path, keep: str, **changes: object) -> tuple[int, int]:
    content = small(data, seeds=[0, 1, 2], **changes)
    content["recipe"] |= {"keep": keep}
    benchmark = planner.load(content)
    plan = planner.plan(benchmark)
    found = footprint(plan, set(plan.stages), benchmark, planner.store, size=size, jobs=1)
    return found.most // TRAINED, found.left // TRAINED


def test_all_that_was_trained_stays(planner: Planner, data: Path) -> None:
    # of each seed the start, the rest of sft and eso; and one that is being made
    assert asked(planner, data, "all") == (10, 9)


def test_what_nothing_reads_goes_before_more_is_trained(planner: Planner, data: Path) -> None:
    # the starts of the three seeds, then one row at a time beside them, and one that is being made
    assert asked(planner, data, "none") == (5, 0)


def test_moments_go_where_nothing_starts(planner: Planner, data: Path) -> None:
    # three starts whole, and a third of each of six rows
    most, left = asked(planner, data, "final")
    assert left == 5
    assert most == 6


def test_trials_stay_until_one_is_chosen(planner: Planner, data: Path) -> None:
    tune = {"options": {"methods.eso.coef": [0.1, 0.2, 0.3, 0.4]}, "metric": "rouge.rougeL", "seeds": [0]}
    validation = {"dataset": "files", "path": str(data), "split": "validation"}
    # three starts, four trials, and one that is being made
    assert asked(planner, data, "none", tune=tune, validation=validation) == (8, 0)


def test_a_lack_of_disk_is_said(planner: Planner, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "not yet there" / "results")
    assert free_bytes(store.root) == pytest.approx(free_bytes(tmp_path), rel=0.1)
    benchmark = planner.load(small(data))
    plan = planner.plan(benchmark)
    assert lack_of_disk(plan, plan.stages.values(), benchmark, store, 2) is None
    monkeypatch.setattr("harness.execution.footprint.free_bytes", lambda _: 1000)
    said = lack_of_disk(plan, plan.stages.values(), benchmark, store, 2) or ""
    assert "has 0 MB left, and the run may need about" in said
    assert said.endswith("recipe.keep: none would need less")
