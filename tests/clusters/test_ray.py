"""A real Ray cluster on the loopback: the tables of a local run, whatever is killed meanwhile."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest
from clusters.nodes import CONTENT, RayCluster, pacing, ray_cluster, same, steps, wait_until
from execution.bench import PATIENCE, Bench, install_probe, tiny

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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
    data = [{"dataset": "generated-instructions", "limit": 2, "label": f"d{n}"} for n in range(40)]
    content = tiny(methods=[], evaluate=data)
    here = Bench(tmp_path / "here", content)
    there = Bench(tmp_path / "there", content)
    began = time.monotonic()
    here.run("--jobs", "1")
    alone = time.monotonic() - began
    with ray_cluster(short, patient) as cluster:
        cluster.start(4)
        cluster.start(4)
        began = time.monotonic()
        there.run("--executor", "ray", "--address", cluster.address)
        whole = time.monotonic() - began
        same(there, here)
        before = there.digests()
        said = there.run("--executor", "ray", "--address", cluster.address)
        assert "0 stages made" in said
        assert there.digests() == before
    hosts = {record.ran["executor"] for record in there.store.records("prepare")}
    assert hosts == {"ray"}
    print(f"{len(before)} stages: {alone:.1f} s by one process, {whole:.1f} s by Ray")


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
