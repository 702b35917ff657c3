"""Runs that are killed and stopped at one moment after another: the last gives what an undisturbed run gives."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from execution.bench import Bench, all_end, descendants, kill_tree, wait_for

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(1800)  # on a machine that does ten other things


def test_killed_and_stopped_at_many_moments(tmp_path: Path) -> None:
    finished, bench = Bench(tmp_path / "undisturbed"), Bench(tmp_path / "disturbed", cold=True)
    finished.run("--jobs", "2")
    with bench.running("--jobs", "1") as process:  # the machine goes down
        wait_for(process, "train new/sft/seed 0/epochs 0-1")
        everything = [process.pid, *descendants(process.pid)]
        assert len(everything) > 1
        kill_tree(process.pid)
        assert all_end(everything)
    bench.cold = False
    with bench.running("--jobs", "1") as process:  # the parent alone is killed: its workers end by themselves
        wait_for(process, "train new/sft/seed 0/epochs 0-1: done")
        workers = descendants(process.pid)
        assert workers
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert all_end(workers)
    for number, moment in {signal.SIGINT: "train new/eso", signal.SIGTERM: "train new/eso"}.items():
        with bench.running("--jobs", "1") as process:
            wait_for(process, moment)
            workers = descendants(process.pid)
            process.send_signal(number)
            _, said = process.communicate()
            assert process.returncode == 128 + number
            assert f"stopped by {number.name}" in said
            assert "Traceback" not in said
            assert all_end(workers)
    bench.run("--jobs", "2")
    assert bench.digests() == finished.digests()
    assert bench.tables() == finished.tables()
    left = {path.name: sorted(path.iterdir()) for path in bench.store.base.glob(".*") if path.is_dir()}
    assert not any(left.values()), left
