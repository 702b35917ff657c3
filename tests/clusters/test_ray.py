"""A real Ray cluster on the loopback: the tables of a local run, whatever is killed meanwhile."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest
from clusters.nodes import CONTENT, RayCluster, pacing, ray_cluster, same, steps, wait_until
from execution.bench import PATIENCE, Bench, install_probe, tiny
from execution.opened import open_on

from harness.execution.executors.interface import GOES_ON

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.execution.executors.interface import Event

pytest.importorskip("ray")
pytestmark = pytest.mark.timeout(3600)


@pytest.fixture
def cluster(short: Path, tmp_path: Path, patient: dict[str, str]) -> Iterator[RayCluster]:
    """Return a head that runs no stages, and two nodes of one CPU each."""
    with ray_cluster(short, {**patient, "PATIENT": pacing(tmp_path / "word")}) as cluster:
        for cpus in (0, 1, 1):
            cluster.start(cpus)
        yield cluster


def test_a_worker_and_then_a_node_are_killed_during_training(
    tmp_path: Path, cluster: RayCluster, patient: dict[str, str], local: Bench
) -> None:
    bench = Bench(tmp_path, CONTENT, patient, cold=True)
    with bench.running("--executor", "ray", "--address", cluster.address) as process:
        wait_until(lambda: len(steps(tmp_path / "word")) >= 2)
        first = steps(tmp_path / "word")[-1][1]
        os.kill(first, signal.SIGKILL)
        second = wait_until(lambda: next((pid for _, pid in steps(tmp_path / "word") if pid != first), None))
        made = len(steps(tmp_path / "word"))
        wait_until(lambda: len(steps(tmp_path / "word")) > made)
        gone = cluster.node_of(second)
        cluster.kill(gone)
        _, said = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, said
    assert "ended with signal SIGKILL" in said
    assert "Ray lost it: " in said
    same(bench, local)
    begun = [step for step, _ in steps(tmp_path / "word")]
    assert len(begun) - len(set(begun)) <= 4, f"each death costs the step it came in, and not the stage: {begun}"
    train = bench.stages("train")["new/patient/seed 0/epochs 1-2"]
    assert train.ran["executor"] == "ray"
    assert "Ran on" in bench.board("md").read_text(encoding="utf-8")
    left = {path.name for path in bench.store.base.glob(".*") if path.is_dir() and any(path.iterdir())}
    assert left <= {".drafts"}, "what the killed ones were writing is removed by the next run"


def test_forty_stages_at_once_and_delivered_twice(tmp_path: Path, short: Path, patient: dict[str, str]) -> None:
    data = [{"dataset": "generated-instructions", "limit": n + 1, "label": f"d{n}"} for n in range(40)]
    here = Bench(tmp_path / "here", tiny(evaluate=data))
    there = Bench(tmp_path / "there", tiny(evaluate=data))
    digests = []
    with ray_cluster(short, patient) as cluster:
        cluster.start(2)
        cluster.start(2)
        for bench, how in ((here, {}), (there, {"executor": "ray", "address": cluster.address})):
            opened = open_on(bench, 1 if bench is here else 64, **how)
            rows = list(opened.plan.evaluations.values())
            assert len(rows) == 40
            try:
                for _ in range(1 if bench is here else 2):  # delivered twice
                    waiting = list(rows)
                    ended: list[Event] = []
                    while len(ended) < 40:
                        while waiting and opened.begin(waiting[0]) is not None:
                            waiting.pop(0)
                        assert bench is here or not waiting, "all are taken at once"
                        ended += [event for event in opened.executor.wait(0.5) if event.kind not in GOES_ON]
                    assert {event.kind for event in ended} == {"done"}, [event.body for event in ended]
                    digests.append(bench.digests())
            finally:
                opened.executor.close()
    assert digests[0] == digests[1] == digests[2]
    assert {record.ran["executor"] for record in there.store.records("prepare")} == {"ray"}


def test_where_nothing_is_shared_stages_come_through_the_object_store(
    tmp_path: Path, short: Path, patient: dict[str, str], local: Bench
) -> None:
    environment = {**patient, "PATIENT": pacing(tmp_path / "word", 0.0), "TMPDIR": str(tmp_path / "node")}
    (tmp_path / "node").mkdir()
    with ray_cluster(short, environment) as cluster:
        cluster.start(2)
        bench = Bench(tmp_path, {**CONTENT, "execution": {"shared": False}}, patient)
        bench.run("--executor", "ray", "--address", cluster.address)
    assert bench.digests() == local.digests()
    assert bench.tables() == local.tables()
    made = [record.ran.get("executor", "local") for record in bench.store.records("train")]
    assert made == ["ray"] * len(made)


def test_what_a_cluster_lacks_is_said_before_anything_is_made(
    tmp_path: Path, short: Path, patient: dict[str, str]
) -> None:
    probe = install_probe(tmp_path / "probe")
    with ray_cluster(short, patient) as cluster:
        cluster.start(1)
        where = ("--executor", "ray", "--address", cluster.address)
        bench = Bench(tmp_path / "plugin", tiny(methods=["sft", "late"]), probe)
        said = bench.run(*where, code=2)
        assert "error: node " in said
        assert "lacks the method late" in said
        assert not list(bench.store.records("train"))
        bench = Bench(tmp_path / "gpu", tiny(execution={"device": "cuda"}))
        assert "no node of the Ray cluster has a GPU, got 'cuda'" in bench.run(*where, code=3)
        bench = Bench(tmp_path / "memory", tiny(execution={"memory_gb": 9000}))
        said = bench.run(*where, code=3)
        assert "no node of the Ray cluster has the memory for this stage, got '9000.0 GB'; expected at most " in said
        assert said.count("error: ") == 1


def test_status_tells_where_a_stage_runs(tmp_path: Path, cluster: RayCluster, patient: dict[str, str]) -> None:
    bench = Bench(tmp_path, CONTENT, patient)
    with bench.running("--executor", "ray", "--address", cluster.address) as process:
        wait_until(lambda: steps(tmp_path / "word"))
        done = bench.ended(bench.command("--json", name="status"), bench.surroundings())
        running = json.loads(done.stdout)["running"]
        assert {(one["executor"], bool(one["host"])) for one in running if one["kind"] == "train"} == {("ray", True)}
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=PATIENCE)
        assert process.returncode == 128 + signal.SIGTERM, said
    assert list((bench.store.base / ".unfinished").glob("train-*/*")), "what was in the middle is kept"
