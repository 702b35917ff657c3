"""Two real processes over gloo against one: the same results, and one end for both, whatever befalls either."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from execution import warm
from training.rank_main import EQUAL, Shuffled
from training.runs import Evolution, Result, go, plan

from harness.errors import MachineError
from harness.training.distributed import PATIENCE, ManyRanks, Ranks

HERE = Path(__file__).resolve().parent
STARTED = 240


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def launch(
    out: Path, *scenarios: str, world: int = 2, module: str = "training.rank_main"
) -> list[subprocess.Popen[str]]:
    port = str(free_port())
    started = []
    for rank in range(world):
        environment = {
            **os.environ,
            "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")])),
        }  # fmt: skip
        command = [sys.executable, "-m", module, str(out), *scenarios]
        started.append(warm.started(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
    return started


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """What both ranks wrote, by scenario."""
    out = tmp_path_factory.mktemp("ranks")
    processes = launch(out)
    try:
        said = [process.communicate(timeout=STARTED)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(said)
    names = {path.name.rpartition("-")[0] for path in out.glob("*.json")}
    return {name: [json.loads((out / f"{name}-{rank}.json").read_text()) for rank in range(2)] for name in names}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Result]]:
    found = {}
    for name, (make, settings) in EQUAL.items():
        method = make()
        found[name] = (method, go(plan(name, **settings), method, tmp_path_factory.mktemp(name)))
    return found


def distance(weights: dict[str, Any], result: Result) -> float:
    return max(
        float((torch.tensor(weights[name], dtype=torch.float64) - value).abs().max())
        for name, value in result.weights.items()
    )


@pytest.mark.parametrize("name", EQUAL)
def test_two_ranks_are_one(pair: Any, alone: Any, name: str) -> None:
    method, result = alone[name]
    assert pair[name][0]["weights"] == pair[name][1]["weights"]
    assert distance(pair[name][0]["weights"], result) < 1e-9
    assert pair[name][0]["summary"]["ranks"] == 2
    assert pair[name][0]["summary"]["weights_sha256"] == pair[name][1]["summary"]["weights_sha256"]
    for mine, other in zip(pair[name][0]["log"], result.log, strict=True):
        assert mine.keys() == other.keys()
        assert mine["learning_rate"] == other["learning_rate"]
        assert mine["tokens"] == other["tokens"]
        assert mine["moved"] == other["moved"]
        assert mine["digests"] == other["digests"]
        for key in ("loss", "grad_norms", "grad_norms_without", "reward", "samples", "groups"):
            flatten = {k: v for k, v in mine.get(key, {}).items() if not isinstance(v, dict)}
            expected = {k: v for k, v in other.get(key, {}).items() if not isinstance(v, dict)}
            assert flatten == {k: pytest.approx(v, rel=1e-8) for k, v in expected.items()}
        assert mine["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-8)
    if hasattr(method, "seen"):
        both = [[*first, *second] for first, second in zip(*(rank["seen"] for rank in pair[name]), strict=True)]
        assert both == [list(ids) for ids in method.seen]  # each rank has a contiguous part of each global batch


def test_ranks_with_uneven_parts(pair: Any) -> None:
    assert {len(ids) for ids in pair["five-a-step"][0]["seen"]} == {2}
    assert {len(ids) for ids in pair["five-a-step"][1]["seen"]} == {3}


def test_one_permutation_for_all_ranks(pair: Any, tmp_path: Path) -> None:
    method = Shuffled()
    result = go(plan("shuffled", last=1), method, tmp_path)
    together = [sorted([*one, *other]) for one, other in zip(*(rank["seen"] for rank in pair["shuffled"]), strict=True)]
    assert together == [sorted(ids) for ids in method.seen]
    assert any(not ids for rank in pair["shuffled"] for ids in rank["seen"])  # the empty share was there
    assert distance(pair["shuffled"][0]["weights"], result) < 1e-9


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        ("nan-reward", "StageError", "reward 'bad': the reward of example"),
        ("raising-reward", "PluginError", "the reward raised KeyError: 'oops'"),
        ("nan-loss", "DivergedError", "the loss is not finite at step 0"),
        ("nan-gradient", "DivergedError", "the gradient is not finite at step 0"),
        ("hopeless", "SingleRowError", "out of memory while taking step 0, with one row at a time"),
        ("different-noise", "PluginError", "apply() was given other weights on another rank"),
    ],
)
def test_what_befalls_one_rank_ends_both_before_anything_moves(pair: Any, name: str, kind: str, text: str) -> None:
    for rank in pair[name]:
        assert rank["kind"] == kind
        assert text in rank["text"]
        assert rank["same"]
        assert rank["files"] == 0
    if name != "hopeless":  # there each rank says how many tokens of its own did not fit
        assert pair[name][0]["text"] == pair[name][1]["text"]


def test_a_signal_to_one_rank_stops_both(pair: Any) -> None:
    assert {rank["kind"] for rank in pair["stopped"]} == {"Stopped"}
    assert {rank["text"].splitlines()[0] for rank in pair["stopped"]} == {"stopped before step 1 by SIGTERM"}


def test_ranks_that_drifted_apart_are_found_out(pair: Any) -> None:
    for rank in pair["unequal"]:
        assert rank["kind"] == "StageError"
        assert "the ranks disagree on the weights after training" in rank["text"]
        assert rank["files"] == 0


def test_memory_that_runs_out_on_one_rank_halves_the_parts_of_both(pair: Any, alone: Any) -> None:
    _, result = alone["evolution"]
    assert distance(pair["hungry"][0]["weights"], result) < 1e-9
    micro = [rank["summary"]["micro_batches"] for rank in pair["hungry"]]
    assert micro[0] == micro[1]
    assert micro[0]["halvings"] >= 1
    assert pair["hungry"][0]["seen"] == pair["evolution"][0]["seen"]


def test_a_rank_that_dies_ends_the_others(tmp_path: Path) -> None:
    processes = launch(tmp_path, "dying")
    try:
        said, _ = processes[0].communicate(timeout=STARTED)
        processes[1].communicate(timeout=STARTED)
    finally:
        for process in processes:
            process.kill()
    assert processes[0].returncode == 3, said
    assert "another process of this run is gone" in said


def test_another_number_of_processes_than_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class State:
        process_index, num_processes, device = 0, 1, torch.device("cpu")

    monkeypatch.setattr("accelerate.PartialState", lambda cpu, timeout: State())  # what a wrong launcher leaves
    with pytest.raises(MachineError, match="another number of processes than the run asks for, got 1; expected 2"):
        ManyRanks(2, torch.device("cpu"), PATIENCE)


def test_alone_is_a_run_of_one() -> None:
    ranks = Ranks()
    assert (ranks.rank, ranks.world, ranks.first) == (0, 1, True)
    assert ranks.part(5) == slice(0, 5)
    assert ranks.gather("x") == ["x"]
    tensor = torch.ones(2, requires_grad=True)
    assert not ranks.sum(tensor).requires_grad
    assert Evolution().temperatures == (0.5, 1.0, 1.5, 2.0)
