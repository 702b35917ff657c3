"""The commands of docs/clusters.md, on a small benchmark, and with a port of their own."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest
from clusters.nodes import ray_cluster
from docs.pages import marked_commands
from execution.bench import Bench, tiny

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(3600)


def run(bench: Bench, line: str, address: str = "") -> str:
    """Run a line of the page on a benchmark of ours; return what it printed."""
    program, name, what, *arguments = shlex.split(line.replace("127.0.0.1:6379", address))
    assert (program, what) == ("harness", "dolly")
    done = bench.ended(bench.command(*arguments, name=name), bench.surroundings())
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_ray(tmp_path: Path, short: Path, patient: dict[str, str]) -> None:
    head, node = (shlex.split(line) for line in marked_commands("clusters.md", "cluster"))
    assert head[:3] == ["ray", "start", "--head"]
    assert node[:2] == ["ray", "start"]
    bench = Bench(tmp_path, tiny(methods=["sft"]))
    with ray_cluster(short, patient) as cluster:
        cluster.start(1)
        cluster.start(1)
        first, status = marked_commands("clusters.md", "ray")
        run(bench, first, cluster.address)
        assert "\nran on ray: " in run(bench, status)
        (unshared,) = marked_commands("clusters.md", "unshared")
        run(bench, unshared, cluster.address)


def test_slurm(tmp_path: Path) -> None:
    (line,) = marked_commands("clusters.md", "slurm")
    bench = Bench(tmp_path, tiny(methods=["sft"]))
    run(bench, line)
    assert "\nran on slurm: " in run(bench, "harness status dolly")
