"""A scheduler's warnings: one keeps the state and lets the run go on, the other ends it as SIGTERM does."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest
from execution.bench import PATIENCE, Bench, all_end, descendants, tiny, wait_for
from execution.patient import STEP, install_patient, wanting

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(1800)  # on a machine that does ten other things

CONTENT = tiny(methods=["sft", "patient"])


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment with the method that waits for a signal."""
    return install_patient(tmp_path_factory.mktemp("patient"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, patient: dict[str, str]) -> Bench:
    """Return the benchmark after a run in which nothing happened."""
    bench = Bench(tmp_path_factory.mktemp("undisturbed"), CONTENT, patient)
    bench.run("--jobs", "1")
    return bench


def wait_for_file(path: Path) -> None:
    """Wait until a process has left a file."""
    deadline = time.monotonic() + PATIENCE
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.02)


def hearing(bench: Bench, number: int) -> dict[str, str]:
    """Return the environment in which the method waits at its step for a signal."""
    word = wanting(
        "hear", bench.folder / "word", step=STEP, signal=number, unfinished=str(bench.store.base / ".unfinished")
    )
    return {"PATIENT": word}


@pytest.mark.parametrize("to_all", [False, True], ids=["to the main process", "to every process"])
def test_sigusr1_keeps_the_state_and_the_run_goes_on(
    tmp_path: Path, patient: dict[str, str], undisturbed: Bench, *, to_all: bool
) -> None:
    bench = Bench(tmp_path, CONTENT, patient)
    with bench.running("--jobs", "1", **hearing(bench, signal.SIGUSR1)) as process:
        wait_for_file(tmp_path / "word" / "waiting")
        everything = [process.pid, *(descendants(process.pid) if to_all else [])]
        for pid in everything:
            os.kill(pid, signal.SIGUSR1)
        _, said = process.communicate()
        assert process.returncode == 0, said
    assert (tmp_path / "word" / "states").read_text() == str(STEP + 1)
    assert bench.digests() == undisturbed.digests()
    assert bench.tables() == undisturbed.tables()
    assert not list((bench.store.base / ".unfinished").iterdir())


@pytest.mark.parametrize("to_all", [False, True], ids=["to the main process", "to every process"])
def test_sigusr2_keeps_the_state_and_ends_the_run(
    tmp_path: Path, patient: dict[str, str], undisturbed: Bench, *, to_all: bool
) -> None:
    bench = Bench(tmp_path, CONTENT, patient)
    heard = signal.SIGUSR2 if to_all else signal.SIGTERM  # which the main process sends to its workers
    with bench.running("--jobs", "1", **hearing(bench, heard)) as process:
        wait_for_file(tmp_path / "word" / "waiting")
        workers = descendants(process.pid)
        for pid in (process.pid, *(workers if to_all else [])):
            os.kill(pid, signal.SIGUSR2)
        _, said = process.communicate()
        assert process.returncode == 128 + signal.SIGUSR2, said
        assert "stopped by SIGUSR2" in said
        assert "Traceback" not in said
        assert all_end(workers)
    (state,) = (bench.store.base / ".unfinished").glob("train-*/*/manifest.json")
    assert state.parent.name == str(STEP + 1)
    assert f"going on at step {STEP + 1}" in bench.run("--jobs", "1")
    assert bench.digests() == undisturbed.digests()
    assert bench.tables() == undisturbed.tables()


def test_no_moment_at_which_a_warning_kills(tmp_path: Path, patient: dict[str, str], undisturbed: Bench) -> None:
    """From the first line on, through every start of a worker and every stage, until the tables are written."""
    bench = Bench(tmp_path, CONTENT, patient)
    over = threading.Event()
    sent: set[int] = set()

    def warn(pid: int) -> None:
        while not over.wait(0.005):
            for each in (pid, *descendants(pid)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each, signal.SIGUSR1)
                sent.add(each)

    with bench.running("--jobs", "1") as process:
        wait_for(process, "1 at a time")
        warner = threading.Thread(target=warn, args=(process.pid,))
        warner.start()
        try:
            _, said = process.communicate()
        finally:
            over.set()
            warner.join()
        assert process.returncode == 0, said
    assert len(sent) >= 2
    assert "once more" not in said
    assert bench.digests() == undisturbed.digests()
