"""Worker processes by themselves: how long the end waits for them, and what is done when one dies early."""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING, Any

import pytest
from execution import warm
from execution.bench import PATIENCE
from execution.patient import install_patient, wanting
from stages import configs

from harness.execution.pool import Pool
from harness.execution.rehearsal import InspectionRequest, UsedPlugin, inspect_in
from harness.execution.worker import _answer
from harness.plan import Stage
from harness.spec.plugins import PluginSelection
from harness.spec.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(300)

STAGE = Stage("t", configs.train_config("patient"), {}, Runtime(), key="k", id="i", content="i", done=False)


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    """Return a pool of one worker, in which the patient method is installed."""
    monkeypatch.setenv("PYTHONPATH", install_patient(tmp_path / "patient")["PYTHONPATH"])
    warm.fork_workers(monkeypatch)
    pool = Pool(1, threads=1, ranks=1)
    yield pool
    for worker in pool.workers:
        worker.stop()


def test_the_end_does_not_wait_for_a_worker_that_finishes_its_stage_after_all(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATIENT", wanting("outlast", tmp_path / "word"))
    worker = pool.idle()
    assert worker is not None
    used = (UsedPlugin(kind="method", name="patient", options={}),)
    worker.give(STAGE, InspectionRequest(used=used, results=tmp_path, plugins=PluginSelection()))
    deadline = time.monotonic() + PATIENCE
    while not (tmp_path / "word" / "waiting").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    pool.grace = 3600.0
    pool.close()
    assert worker.answered
    assert worker.lead.poll() is not None


@pytest.mark.parametrize(("lives", "left"), [("x", ""), ("xxx", "x")])
def test_an_inspection_whose_process_dies_is_made_once_more(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lives: str, left: str
) -> None:
    monkeypatch.setenv("PATIENT", wanting("die in build", tmp_path / "word"))
    (tmp_path / "word" / "lives").write_text(lives)
    failed = inspect_in(pool, [STAGE], tmp_path, PluginSelection())
    assert (tmp_path / "word" / "lives").read_text() == left
    assert (failed is None) == (lives == "x")
    if failed is not None:
        assert "ended with signal SIGKILL" in failed["message"]
    pool.close()


def test_a_warning_in_the_middle_of_an_event_is_said_and_no_deadlock() -> None:
    class Warns(io.StringIO):
        def flush(self) -> None:
            if self.getvalue().count("\n") == 1:
                _answer(self, {"event": "warned"})

    events: Any = Warns()
    _answer(events, {"event": "done"})
    assert events.getvalue() == '{"event": "done"}\n{"event": "warned"}\n'
