"""Faults of every kind at random, 500 by default: no wrong number, no traceback, nothing left behind.

The seed of each case is printed; ``FAULTS_SEED`` sets the first, and ``FAULTS_COUNT`` how many faults there are.
"""

from __future__ import annotations

import collections
import json
import os
import secrets
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from execution import warm
from faults.miniature import BUILT_IN, surroundings
from faults.processes import FAULTS, Case

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(3 * 3600)

COUNT = int(os.environ.get("FAULTS_COUNT", "500"))
SEED = int(os.environ.get("FAULTS_SEED", secrets.randbelow(2**31)))

#: Of the faults, those that real processes meet: a tenth.
REAL = COUNT // 10

#: Faults of a case, on average.
_A_CASE = 2.5


@pytest.fixture
def place() -> Iterator[Path]:
    """Return a folder, in memory where that is possible, that another user can come to."""
    memory = Path("/dev/shm")  # noqa: S108  # a folder of one's own in it
    folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("method", ["eso", "ppo", "dpo"])
def test_whatever_happens_to_a_run_the_next_ones_end_with_the_same_results(method: str, place: Path) -> None:
    number = int((COUNT - REAL) / 3 / _A_CASE) + 1
    first = SEED + 1_000_000 * ["eso", "ppo", "dpo"].index(method)
    seeds = list(range(first, first + number))
    print(f"FAULTS_SEED={SEED}: cases {seeds[0]} to {seeds[-1]} of {method}")
    wanted = {"folder": str(place), "content": BUILT_IN[method], "seeds": seeds}
    command = [sys.executable, "-m", "faults.cases", json.dumps(wanted)]
    done = warm.ended(command, env=surroundings(), timeout=3 * 3600.0, cwd=str(place))
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    print({name: value for name, value in found.items() if name != "wrong"})
    assert not found["wrong"], "\n\n".join(found["wrong"])
    assert sum(found["faults"].values()) >= number


def test_whatever_happens_to_processes_of_runs_the_next_ones_end_with_the_same_results(tmp_path: Path) -> None:
    print(f"FAULTS_SEED={SEED}: cases {SEED} to {SEED + REAL - 1} of processes")
    case = Case(tmp_path)
    kinds = collections.Counter(case.meet(SEED + number, list(FAULTS)[number % len(FAULTS)]) for number in range(REAL))
    print(dict(kinds))
    assert sum(kinds.values()) == REAL
