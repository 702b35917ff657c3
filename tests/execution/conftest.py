from __future__ import annotations

import fcntl
import os
import shutil
from typing import TYPE_CHECKING

import pytest
from execution.bench import Bench, install_probe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Return the tiny benchmark after an undisturbed run with two workers; tests must not write to it.

    The processes of pytest-xdist share one.
    """
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "finished"
    shared.mkdir(exist_ok=True)
    bench = Bench(shared, cold=True)  # what warm ones are compared with
    with (shared / "lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not list(bench.results.glob("tiny/*/leaderboard.tex")):
            bench.run("--jobs", "2")
    bench.cold = False
    return bench


@pytest.fixture
def copied(finished: Bench, tmp_path: Path) -> Callable[..., Bench]:
    """Return a function that gives a copy of the finished run, with the file changed."""

    def copy(**changes: object) -> Bench:
        folder = tmp_path / "copy"
        shutil.copytree(finished.results, folder / "results")
        return Bench(folder, {**finished.content, **changes})

    return copy


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment in which an outside distribution with a method, a reward and a metric is installed."""
    return install_probe(tmp_path_factory.mktemp("probe"))
