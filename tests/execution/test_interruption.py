"""Runs that are killed, stopped or doubled lose nothing: another one gives what an undisturbed run gives."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from execution.bench import Bench, all_end, descendants, wait_for

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(1800)  # on a machine that does ten other things


def test_a_run_whose_first_process_is_killed_ends_its_workers_and_the_next_goes_on(
    tmp_path: Path, finished: Bench
) -> None:
    bench = Bench(tmp_path)
    with bench.running("--jobs", "1") as process:
        wait_for(process, "train new/sft/seed 0/epochs 0-1: done")
        workers = descendants(process.pid)
        assert workers
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert all_end(workers)
    bench.run("--jobs", "2")
    assert bench.digests() == finished.digests()
    assert bench.tables() == finished.tables()
    left = {path.name: sorted(path.iterdir()) for path in bench.store.base.glob(".*") if path.is_dir()}
    assert not any(left.values()), left


def test_two_runs_at_once_on_one_store(tmp_path: Path, finished: Bench) -> None:
    bench = Bench(tmp_path)
    bench.file.touch()
    with bench.running("--jobs", "1") as one, bench.running("--jobs", "1") as two:
        said = [process.communicate()[1] for process in (one, two)]
        assert [one.returncode, two.returncode] == [0, 0], said
    assert bench.digests() == finished.digests()
    assert bench.tables() == finished.tables()
    assert list((bench.store.base / ".drafts").iterdir()) == []
