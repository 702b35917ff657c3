"""`harness run`: its settings and what it says. What it does is tested in tests/execution."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from plan.files import Planner, small, write_rows

from harness.cli import main
from harness.cli.run import _closing
from harness.errors import MachineError
from harness.execution import device
from harness.execution.outcome import Failure, Outcome, Rebuilt
from harness.execution.places import default_jobs
from harness.plan import build_plan
from harness.plugins.loader import load_registry
from harness.store.stages import Store

if TYPE_CHECKING:
    from pathlib import Path

    from harness.spec.benchmark import Benchmark


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    folder = tmp_path_factory.mktemp("run")
    return Planner(folder, load_registry()).load(small(write_rows(folder / "data")))


@pytest.mark.parametrize(
    ("cores", "threads", "processes", "place", "jobs"),
    [(8, 1, 1, "cpu", 8), (8, 2, 1, "cpu", 4), (8, 2, 2, "cpu", 2), (2, 4, 1, "cpu", 1), (8, 1, 1, "cuda", 1)],
)
def test_as_many_stages_at_a_time_as_cores_allow(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch, cores: int, threads: int, processes: int, place: str,
    jobs: int,
) -> None:  # fmt: skip
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    execution = benchmark.execution.model_copy(update={"threads": threads})
    assert default_jobs(benchmark.model_copy(update={"execution": execution}), place, processes) == jobs


@pytest.mark.parametrize(
    ("wanted", "devices", "found"),
    [("auto", 0, "cpu"), ("auto", 2, "cuda"), ("cpu", 2, "cpu"), ("cuda", 1, "cuda"), ("cuda:1", 2, "cuda:1")],
)
def test_the_device(monkeypatch: pytest.MonkeyPatch, wanted: str, devices: int, found: str) -> None:
    monkeypatch.setattr(device, "_cuda_devices", lambda: devices)
    assert device.resolve_device(wanted) == found


@pytest.mark.parametrize(("wanted", "devices"), [("cuda", 0), ("cuda:2", 2)])
def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch, wanted: str, devices: int) -> None:
    monkeypatch.setattr(device, "_cuda_devices", lambda: devices)
    monkeypatch.setattr(device, "_has_rocm", lambda: False)
    with pytest.raises(MachineError, match=r"execution\.device: this device is not available") as caught:
        device.resolve_device(wanted)
    assert "cpu" in str(caught.value)
    monkeypatch.setattr(device, "_has_rocm", lambda: True)
    assert device.resolve_device(wanted) == wanted


@pytest.mark.parametrize(
    "arguments", [["--jobs", "0"], ["--processes", "-1"], ["--results", __file__], ["--jobs", "x"]]
)
def test_settings_that_make_no_sense(tmp_path: Path, arguments: list[str]) -> None:
    path = tmp_path / "bench.yaml"
    path.write_text("benchmark: b\n", encoding="utf-8")
    done: Any = CliRunner().invoke(main, ["run", str(path), *arguments])
    assert done.exit_code == 2
    assert arguments[0] in done.output


def test_the_end_says_how_many_failed_before_it_lists_anything(benchmark: Benchmark, tmp_path: Path) -> None:
    plan = build_plan(benchmark, load_registry(), Store(tmp_path))
    failed, died, *_ = plan.stages.values()
    outcome = Outcome(
        plan,
        {failed.key: Failure(failed, "broken", 1)},
        made=7,
        reused=2,
        rebuilt={died.key: Rebuilt(died.kind, died.label, "a file")},
        deaths={stage.key: Failure(stage, "killed", 1) for stage in (failed, died)},
    )
    first, *listed = _closing(outcome, 61).splitlines()
    assert first == "7 stages made, 2 taken from the store, 1:01; 1 have no result, for the reasons above"
    assert listed[1] == f"  {died.kind} {died.label}: a file"
    assert listed[3:] == [f"  {died.kind} {died.label}: killed"]
    assert outcome.again() == [outcome.deaths[died.key]]


def test_a_second_attempt_adds_to_the_first(benchmark: Benchmark, tmp_path: Path) -> None:
    plan = build_plan(benchmark, load_registry(), Store(tmp_path))
    one, two, *_ = plan.stages.values()
    first = Outcome(
        plan, {}, 5, 10, {one.key: Rebuilt("k", "l", "r")}, {one.key: Failure(one, "x", 1)}, frozenset({"a"})
    )
    second = Outcome(plan, {}, 1, 14, {}, {two.key: Failure(two, "y", 1)}, frozenset({"b"}))
    second.follow(first)
    assert (second.made, second.reused, second.warned) == (6, 9, frozenset({"a", "b"}))
    assert (list(second.rebuilt), list(second.deaths)) == ([one.key], [one.key, two.key])


def test_the_command_itself_needs_no_torch() -> None:
    code = (
        "import sys, harness.cli.run, harness.execution.runner, harness.execution.watch, harness.execution.manifest\n"
        "assert not {'torch', 'transformers', 'datasets', 'pandas'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
