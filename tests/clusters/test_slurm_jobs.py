"""Real jobs of a scripted queue, which preempts, times out, puts back and loses nodes during training, unwarned."""

from __future__ import annotations

import collections
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from clusters.nodes import CONTENT, pacing, same, steps, wait_until
from execution import fake_slurm
from execution.bench import PATIENCE, Bench

if TYPE_CHECKING:
    import subprocess

pytest.importorskip("submitit")
pytestmark = pytest.mark.timeout(3600)

SRUN = """
while [ "${1#--}" != "$1" ]; do if [ "$1" = --output ]; then out=$2; shift; fi; shift; done
n=$SLURM_JOB_ID; exec "$@" >> "$(echo "$out" | sed "s/%j/$n/; s/%t/0/")" 2>&1
"""


def queue(tmp_path: Path, bench: Bench, deeds: list[str]) -> dict[str, str]:
    """Return the environment with a queue that runs its jobs here and does to them what is said."""
    environment = fake_slurm.install(tmp_path / "slurm")
    folder = Path(environment["FAKE_SLURM"])
    (folder / "node").write_bytes(Path(__file__).with_name("fake_node.py").read_bytes())
    (folder.parent / "bin" / "srun").write_text(f"#!/bin/sh\n{SRUN}", encoding="utf-8")
    plan = {"deeds": deeds, "steps": str(tmp_path / "word" / "steps")}
    (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    bench.environment = {**bench.environment, **environment}
    return environment


def started(environment: dict[str, str]) -> list[str]:
    """Return the names of the jobs in the order in which nodes began them."""
    lines = Path(environment["FAKE_SLURM"], "started").read_text(encoding="utf-8").splitlines()
    return [line.partition(" ")[0] for line in lines]


def test_jobs_that_the_queue_takes_away_go_on_from_what_they_kept(
    tmp_path: Path, patient: dict[str, str], local: Bench
) -> None:
    bench = Bench(tmp_path, CONTENT, {**patient, "PATIENT": pacing(tmp_path / "word", 0.1)}, cold=True)
    deeds = ["preempt", "time out", "requeue", "lose the node"]
    environment = queue(tmp_path, bench, deeds)
    with bench.running("--executor", "slurm", "--jobs", "1") as process:
        _, said = process.communicate(timeout=3000)
        assert process.returncode == 0, said
    same(bench, local)
    stages = collections.Counter(f"harness-{kind}" for kind, _ in local.digests())
    assert collections.Counter(started(environment)) == stages + collections.Counter(
        {"harness-train": len(deeds), "harness-survey": 1}
    ), "no stage was begun without need"
    for words in ("was preempted", "ran out of time", "node of its job is gone"):
        assert f"{words}" in said
    made = [step for step, _ in steps(tmp_path / "word")]
    assert len(made) - len(set(made)) <= len(deeds), f"what was kept was not made again: {made}"
    assert not (bench.store.base / ".jobs").exists()


def test_a_run_that_is_killed_leaves_its_jobs_to_the_next(
    tmp_path: Path, patient: dict[str, str], local: Bench
) -> None:
    bench = Bench(tmp_path, CONTENT, {**patient, "PATIENT": pacing(tmp_path / "word", 0.3)}, cold=True)
    environment = queue(tmp_path, bench, [])
    process: subprocess.Popen[str]
    with bench.running("--executor", "slurm", "--jobs", "1") as process:
        wait_until(lambda: steps(tmp_path / "word"))
        os.kill(process.pid, 9)
        process.wait(PATIENCE)
    bench.run("--executor", "slurm", "--jobs", "1")
    same(bench, local)
    stages = collections.Counter(f"harness-{kind}" for kind, _ in local.digests())
    assert collections.Counter(started(environment)) == stages + collections.Counter({"harness-survey": 2})


def test_submitits_own_local_jobs(tmp_path: Path, patient: dict[str, str], local: Bench) -> None:
    bench = Bench(tmp_path, CONTENT, {**patient, "PATIENT": pacing(tmp_path / "word", 0.0)}, cold=True)
    bench.run("--executor", "slurm", "--address", "local", "--jobs", "2")
    same(bench, local)
