"""What every executor promises, with real processes where they are cheap: a stage that prepares rows needs no torch."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from execution.bench import PATIENCE, Bench, descendants
from execution.opened import Opened, open_on

from harness.errors import InputError, MachineError
from harness.execution.asking import needs_of
from harness.execution.executors.choose import check_execution
from harness.execution.executors.interface import Needs
from harness.execution.executors.ray_cluster import connected
from harness.execution.executors.survey import asked
from harness.plugins.loader import load_registry
from harness.spec.execution import Execution
from harness.spec.plugins import INSTALLED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.execution.executors.interface import Executor

pytestmark = pytest.mark.timeout(300)

#: What is asked for each kind of executor; jobs of submitit are processes of this machine here.
KINDS: dict[str, dict[str, Any]] = {"local": {}, "slurm": {"executor": "slurm", "address": "local"}}


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Opened]]:
    """Return a function that opens an executor on an empty store; all are closed afterwards."""
    everything: list[Executor] = []

    def begin(jobs: int = 1, **execution: Any) -> Opened:
        one = open_on(Bench(tmp_path), jobs, **execution)
        everything.append(one.executor)
        return one

    yield begin
    for executor in everything:
        executor.grace = 0.0
        executor.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_stage_goes_in_and_its_record_comes_out_once(opened: Callable[..., Opened], kind: str) -> None:
    one = opened(**KINDS[kind])
    place = one.begin(one.rows)
    assert place is not None
    assert one.executor.busy() == [place]
    assert one.begin(one.rows) is None, "there is room for one"
    end = one.end()
    assert (end.kind, end.stage) == ("done", one.rows), end.body
    assert list(one.executor.busy()) == []
    record = one.store.open("prepare", one.rows.id or "")
    before = record.digest("rows.jsonl"), sorted(record.manifest["files"])
    one.begin(one.rows)  # delivered twice
    assert one.end().kind == "done"
    again = one.store.open("prepare", one.rows.id or "")
    assert (again.digest("rows.jsonl"), sorted(again.manifest["files"])) == before
    assert (again.ran.get("executor"), bool(again.ran.get("host"))) == (
        (None, False) if kind == "local" else ("slurm", True)
    )
    assert "ran.json" not in {name for name in record.manifest["files"] if name not in record.manifest["measured"]}


@pytest.mark.parametrize("kind", KINDS)
def test_a_stage_that_fails_says_why_and_the_next_one_is_done(opened: Callable[..., Opened], kind: str) -> None:
    one = opened(**KINDS[kind])
    one.begin(one.rows, code="another release")
    end = one.end()
    assert (end.kind, end.body["exit_code"], end.body["fatal"]) == ("failed", 3, True)
    assert "the source of the harness has changed since this run began" in end.body["message"]
    assert "Traceback" not in end.body["message"]
    one.begin(one.rows)
    assert one.end().kind == "done"


@pytest.mark.parametrize("kind", KINDS)
def test_a_worker_that_is_killed_costs_its_stage(opened: Callable[..., Opened], kind: str) -> None:
    one = opened(**KINDS[kind])
    one.begin(one.rows)
    deadline = time.monotonic() + PATIENCE
    while not (workers := _workers()):
        assert time.monotonic() < deadline
        list(one.executor.wait(0.05))
    os.kill(workers[0], signal.SIGKILL)
    end = one.end()
    assert (end.kind, end.stage) == ("died", one.rows), end.body
    assert "ended with signal SIGKILL" in end.body["message"]


def _workers() -> list[int]:
    """Return the workers below this process."""
    found = []
    for pid in descendants(os.getpid()):
        with contextlib.suppress(OSError):
            if "harness.execution.worker" in Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8"):
                found.append(pid)
    return found


def test_another_run_takes_a_job_over_and_a_lost_one_is_noticed(opened: Callable[..., Opened]) -> None:
    first = opened(jobs=2, **KINDS["slurm"])
    place = first.begin(first.rows)
    second = opened(jobs=2, **KINDS["slurm"])
    taken = second.begin(second.rows)
    assert taken.job.job_id == place.job.job_id, "no second job for what one is at"
    place.job._process.kill()
    end = first.end()
    assert end.kind in {"lost", "done"}  # its child may have gone on
    assert list(first.executor.busy()) == []


def test_the_machine_is_asked_before_anything_is_made(opened: Callable[..., Opened]) -> None:
    one = opened(**KINDS["slurm"])
    request = asked(("rows",), [("dataset", "generated-instructions")], INSTALLED, one.store.root)
    (report,) = one.executor.survey(request)
    assert report.folder is None
    assert len(report.plugins["dataset generated-instructions"]) == 64
    assert not (one.store.base / ".jobs").exists(), "nothing is left of the question"


def test_a_stage_asks_a_cluster_for_what_it_is_estimated_to_need(opened: Callable[..., Opened]) -> None:
    one = opened()
    registry = load_registry()
    train = next(stage for stage in one.plan.stages.values() if stage.kind == "train")
    settings = dataclasses.replace(one.settings, ranks=2, threads=3)
    needs = needs_of(train, one.plan, registry, settings, device="cpu")
    assert (needs.cpus, needs.gpus) == (6, 0)
    assert needs.memory is not None
    assert needs.memory > 2 * 550_000_000
    said = dataclasses.replace(settings, execution=Execution(memory_gb=3))
    assert needs_of(train, one.plan, registry, said, device="cpu").memory == 3_000_000_000
    assert needs_of(train, one.plan, registry, settings, device="cuda") == Needs(6, 2, None)
    assert needs_of(one.rows, one.plan, registry, settings, device="cpu") == Needs(3, 0, None)


@pytest.mark.parametrize(
    ("execution", "message"),
    [
        ({"address": "somewhere:1"}, "execution.address: there is an address and no cluster to find there"),
        ({"executor": "slurm", "address": "somewhere:1"}, "SLURM is found by its commands"),
        ({"executor": "slurm", "shared": False}, "only Ray carries stages"),
    ],
)
def test_settings_of_one_executor_beside_another_are_refused(execution: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_execution(Execution(**execution))


def test_no_slurm(monkeypatch: pytest.MonkeyPatch, opened: Callable[..., Opened]) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MachineError, match="there is no SLURM here: sbatch and srun and sacct cannot be found"):
        opened(executor="slurm")


@pytest.mark.parametrize(("module", "executor"), [("ray", "ray"), ("submitit", "slurm")])
def test_an_engine_that_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, opened: Callable[..., Opened], module: str, executor: str
) -> None:
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(MachineError, match="is not installed") as caught:
        opened(executor=executor)
    assert caught.value.hint == f"pip install 'posttune-harness[{executor}]'"


@pytest.mark.parametrize(
    ("address", "kind", "message"),
    [
        ("127.0.0.1:9", MachineError, "there is no Ray cluster, got '127.0.0.1:9'"),
        ("ray://127.0.0.1:9", InputError, "Ray's client cannot carry stages"),
        ("somewhere", InputError, "is no address of a Ray cluster, got 'somewhere'; expected auto or HOST:PORT"),
    ],
)
def test_no_ray_cluster(address: str, kind: type[Exception], message: str) -> None:
    pytest.importorskip("ray")
    with pytest.raises(kind, match=message):
        connected(address)


def test_gpus_are_not_numbered_on_clusters(opened: Callable[..., Opened]) -> None:
    one = opened(**KINDS["slurm"])
    with pytest.raises(InputError, match="a queue decides which GPU a stage gets"):
        one.executor.device("cuda:1")
    assert one.executor.device("auto") == "cpu"


def test_status_tells_what_runs_where(opened: Callable[..., Opened]) -> None:
    one = opened(**KINDS["slurm"])
    bench = Bench(one.store.root.parent)
    one.begin(one.rows)
    assert one.end().kind == "done"
    said = json.loads(_status(bench))
    assert said["running"] == []
    assert [ran["executor"] for ran in said["ran"]] == ["slurm"]


def _status(bench: Bench) -> str:
    from click.testing import CliRunner

    from harness.cli import main

    result = CliRunner().invoke(main, ["status", str(bench.file), "--results", str(bench.results), "--json"])
    assert result.exit_code == 0, result.output
    return result.stdout
