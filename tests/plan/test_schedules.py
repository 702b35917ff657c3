"""Schedules that cannot do what they are asked for are said to be, before anything is trained."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from plan.files import Planner, small, write_rows

from harness.cli import main
from harness.plan.schedules import schedule_remarks
from harness.plugins.loader import load_registry

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def planner(tmp_path_factory: pytest.TempPathFactory) -> Planner:
    return Planner(tmp_path_factory.mktemp("plan"), load_registry())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data"))


def file(data: Path, recipe: dict[str, Any], methods: list[Any] | None = None, **others: Any) -> dict[str, Any]:
    content = small(data, seeds=[0], **({"methods": methods} if methods else {}))
    content["recipe"] = {**content["recipe"], **recipe}
    content["train"] = {**content["train"], **others}
    return content


def test_a_warmup_is_longer_than_the_rows_allow(planner: Planner, data: Path) -> None:
    content = file(data, {"epochs": 3, "batch_size": 4, "warmup_steps": 500}, ["sft", "eso"])
    benchmark = planner.load(content)
    (said,) = schedule_remarks(benchmark, rows=16)
    assert said.startswith("sft, eso: a warm-up of 500 steps is longer than the 12 steps that it has")
    assert schedule_remarks(benchmark) == []  # how many rows there are is not known
    assert schedule_remarks(benchmark, rows=4000) == []


def test_a_limit_is_enough_to_know(planner: Planner, data: Path) -> None:
    recipe = {"epochs": 3, "batch_size": 4, "warmup_steps": 500}
    (said,) = schedule_remarks(planner.load(file(data, recipe, ["sft"], limit=16)))
    assert "longer than the 12 steps" in said


def test_a_methods_own_warmup(planner: Planner, data: Path) -> None:
    own = {"method_warmup_steps": 9, "method_schedule": "restart", "epochs": 3, "batch_size": 4}
    (said,) = schedule_remarks(planner.load(file(data, own, ["sft", "eso"])), rows=16)
    assert said.startswith("sft, eso: a warm-up of 9 steps is longer than the 4 steps that it has")
    after = {"use": "eso", "start": "after", "recipe": {"method_warmup_steps": 9}}
    (said,) = schedule_remarks(planner.load(file(data, {"epochs": 3, "batch_size": 4}, ["sft", after])), rows=16)
    assert said.startswith("eso: a warm-up of 9 steps is longer than the 4 steps that it has")
    idle = {**own, "method_schedule": "continue"}
    (said,) = schedule_remarks(planner.load(file(data, idle, ["sft"])), rows=16)
    assert said.startswith("sft: method_warmup_steps 9 means nothing under method_schedule: continue")


def test_the_commands_say_so(planner: Planner, data: Path) -> None:
    path = planner.folder / "bench.yaml"
    recipe = {"epochs": 3, "batch_size": 4, "warmup_steps": 500}
    path.write_text(json.dumps(file(data, recipe, ["sft"], limit=8)), encoding="utf-8")
    for command in (["validate", str(path)], ["plan", str(path), "--results", str(planner.store.root)]):
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 0, done.output
        assert "note: sft: a warm-up of 500 steps is longer than the 6 steps that it has" in done.stdout
        found = json.loads(CliRunner().invoke(main, [*command, "--json"]).stdout)
        assert len(found["remarks"]) == 1
