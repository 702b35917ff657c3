"""The default benchmark, killed at arbitrary moments, gives the tables of an undisturbed run.

It takes the time of two whole runs (``tox -e quick``). The seed of the moments is
printed; ``FAULTS_SEED`` sets it.
"""

from __future__ import annotations

import os
import random
import secrets
import subprocess
import time
from pathlib import Path

import pytest
from execution.bench import Bench, all_end, descendants, kill_tree

ROOT = Path(__file__).resolve().parent.parent.parent
KILLS = 2

pytestmark = pytest.mark.timeout(3 * 3600)


class Quick(Bench):
    """The quick profile of the benchmark that newcomers run."""

    @property
    def file(self) -> Path:
        return ROOT / "benchmarks" / "dolly.yaml"

    def board(self, suffix: str) -> Path:
        return self.results / "dolly" / "quick" / f"leaderboard.{suffix}"


def timed(bench: Bench) -> float:
    """Run to the end and return the seconds it took."""
    bench.folder.mkdir()
    began = time.monotonic()
    subprocess.run(
        bench.command("--quiet"), env=bench.surroundings(), stdout=subprocess.DEVNULL, check=True, cwd=bench.folder
    )
    return time.monotonic() - began


def test_killing_the_quick_profile_changes_no_table(tmp_path: Path) -> None:
    seed = int(os.environ.get("FAULTS_SEED", secrets.randbelow(2**32)))
    print(f"FAULTS_SEED={seed}")
    moments = random.Random(seed)
    undisturbed, disturbed = Quick(tmp_path / "undisturbed"), Quick(tmp_path / "disturbed")
    whole = timed(undisturbed)
    disturbed.folder.mkdir()
    for _ in range(KILLS):
        with disturbed.running("--quiet") as process:
            time.sleep(moments.uniform(0.02, 0.6) * whole)
            everything = [process.pid, *descendants(process.pid)]
            if moments.random() < 0.5:
                kill_tree(process.pid)
            else:
                process.kill()  # its workers notice
            assert process.wait() < 0, "the run was done before it could be killed"
            assert all_end(everything[1:])
    disturbed.run("--quiet")
    assert disturbed.digests() == undisturbed.digests()
    assert disturbed.tables() == undisturbed.tables()
