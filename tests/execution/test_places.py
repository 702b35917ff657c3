"""Who gets what of a machine: GPUs and cores, or one message; on invented machines."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from plan.files import Planner, small, write_rows

from harness.cli import main
from harness.errors import HarnessError, InputError, MachineError
from harness.execution import device
from harness.execution.places import Places, gpus_of_workers
from harness.execution.pool import Pool
from harness.plugins.loader import load_registry

if TYPE_CHECKING:
    from pathlib import Path

    from harness.spec.benchmark import Benchmark


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    folder = tmp_path_factory.mktemp("places")
    return Planner(folder, load_registry()).load(small(write_rows(folder / "data")))


def machine(monkeypatch: pytest.MonkeyPatch, *, gpus: int, cores: int = 8, visible: str | None = None) -> None:
    monkeypatch.setattr(device, "_cuda_devices", lambda: gpus)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)


def with_execution(benchmark: Benchmark, **changes: Any) -> Benchmark:
    return benchmark.model_copy(update={"execution": benchmark.execution.model_copy(update=changes)})


@pytest.mark.parametrize(
    ("gpus", "jobs", "processes", "expected"),
    [
        (4, 4, 1, (("0",), ("1",), ("2",), ("3",))),
        (4, 2, 2, (("0", "1"), ("2", "3"))),
        (4, 1, 3, (("0", "1", "2"),)),
        (1, 1, 1, (("0",),)),
        (0, 3, 1, ()),  # PyTorch alone can count them
    ],
)
def test_each_process_has_a_gpu_of_its_own(
    monkeypatch: pytest.MonkeyPatch, benchmark: Benchmark, gpus: int, jobs: int, processes: int, expected: Any
) -> None:
    machine(monkeypatch, gpus=gpus)
    assert Places.of(benchmark, "cuda", jobs=jobs, processes=processes).gpus == expected


def test_gpus_are_those_that_this_process_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, gpus=3, visible="5, GPU-8a2f,7")
    assert device.gpus() == ("5", "GPU-8a2f", "7")
    assert gpus_of_workers("cuda", 3, 1) == (("5",), ("GPU-8a2f",), ("7",))
    assert gpus_of_workers("cuda:1", 1, 1) == ()
    assert gpus_of_workers("cpu", 3, 1) == ()


@pytest.mark.parametrize(("processes", "jobs"), [(1, 4), (2, 2), (3, 1)])
def test_all_gpus_are_used_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, benchmark: Benchmark, processes: int, jobs: int
) -> None:
    machine(monkeypatch, gpus=4)
    assert Places.of(benchmark, "cuda", processes=processes).jobs == jobs
    assert Places.of(benchmark, "cuda:2").jobs == 1


@pytest.mark.parametrize(
    ("place", "jobs", "processes", "kind", "texts"),
    [
        (
            "cuda", 1, 4, MachineError,
            ["--processes: a stage has more processes than there are GPUs, got 4;", "expected at most 2, or -o"],
        ),
        (
            "cuda", 3, 1, MachineError,
            ["--jobs: there are fewer GPUs", "got '3 stages at a time, each with a process on 2 GPUs'", "--jobs 2"],
        ),
        ("cuda", 2, 2, MachineError, ["'2 stages at a time, each with 2 processes on 2 GPUs'", "expected --jobs 1 at"]),
        (
            "cuda:1", 2, 1, InputError,
            ["execution.device: one GPU is named", "'cuda:1, 2 stages at a time, each with a process'", "--jobs 1"],
        ),
    ],
)  # fmt: skip
def test_too_few_gpus(
    monkeypatch: pytest.MonkeyPatch, benchmark: Benchmark, place: str, jobs: int, processes: int,
    kind: type[HarnessError], texts: list[str],
) -> None:  # fmt: skip
    machine(monkeypatch, gpus=2)
    with pytest.raises(kind) as caught:
        Places.of(benchmark, place, jobs=jobs, processes=processes)
    assert [text for text in texts if text not in str(caught.value)] == []


def test_one_process_has_nobody_to_divide_weights_with(benchmark: Benchmark) -> None:
    with pytest.raises(InputError, match=r"execution\.shard: weights are divided .* expected --processes 2 or more"):
        Places.of(with_execution(benchmark, shard=True), "cpu")
    assert Places.of(with_execution(benchmark, shard=True), "cpu", processes=2).divides


def test_cores_are_shared_out_and_said(monkeypatch: pytest.MonkeyPatch, benchmark: Benchmark) -> None:
    machine(monkeypatch, gpus=0, cores=8)
    enough = Places.of(with_execution(benchmark, threads=2), "cpu", processes=2)
    assert (enough.jobs, enough.crowded) == (2, False)
    assert enough.lines() == [
        "workers: 2 stages at a time, each with 2 processes of 2 threads, on cpu; 8 threads at most on 8 cores"
    ]
    crowded = Places.of(benchmark, "cpu", jobs=9)
    assert crowded.crowded
    assert crowded.lines()[0].endswith("which they share: fewer --jobs, --processes or threads are faster")


def test_who_gets_which_gpu_is_said(monkeypatch: pytest.MonkeyPatch, benchmark: Benchmark) -> None:
    machine(monkeypatch, gpus=4)
    places = Places.of(with_execution(benchmark, shard=True), "cuda", processes=2)
    assert places.lines()[1:] == [
        "worker 1: GPU 0, GPU 1, one a process",
        "worker 2: GPU 2, GPU 3, one a process",
        "the weights of what is trained are divided among the 2 processes of a stage",
    ]
    assert places.to_json()["gpus"] == [["0", "1"], ["2", "3"]]


def test_a_worker_that_is_replaced_has_the_gpu_of_the_one_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    class Process(subprocess.Popen[bytes]):
        def __init__(self, *_: Any, env: dict[str, str], **named: Any) -> None:
            seen.append(env["CUDA_VISIBLE_DEVICES"])
            super().__init__(["sleep", "60"], **named)

    monkeypatch.setattr("harness.execution.pool.subprocess.Popen", Process)
    workers = Pool(2, threads=1, ranks=1, gpus=(("4",), ("6",)))
    try:
        workers.start(2)
        workers.replace(workers.workers[0])
        workers.start(2)
    finally:
        workers.close()
    assert seen == ["4", "6", "4"]


@pytest.mark.parametrize(
    ("arguments", "settings", "code", "text"),
    [
        (["--processes", "4"], {"device": "cuda"}, 3, "--processes: a stage has more processes than there are GPUs"),
        ([], {"shard": True}, 2, "execution.shard: weights are divided among the processes of a training stage"),
    ],
)
def test_a_run_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], settings: dict[str, Any], code: int,
    text: str,
) -> None:  # fmt: skip
    machine(monkeypatch, gpus=2)
    content = small(write_rows(tmp_path / "data"), execution=settings)
    file = _written(tmp_path, content)
    done = CliRunner().invoke(main, ["run", str(file), "--results", str(tmp_path / "results"), *arguments])
    assert done.exit_code == code
    assert text in done.output
    assert "Traceback" not in done.output
    assert not (tmp_path / "results").exists()
    planned = CliRunner().invoke(main, ["plan", str(file), "--results", str(tmp_path / "results"), *arguments])
    assert planned.exit_code == 0, planned.output
    assert f"a run would be refused: {text}" in planned.output


def _written(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "bench.yaml"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_memory_of_the_machine_is_told() -> None:
    found = device.memory_of("cpu")
    assert found is not None
    assert found > 1e8
