"""Processes that stop without ending: who sends no heartbeat is ended, and the run goes on."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from harness.execution.heartbeat import Heartbeat
from harness.execution.pool import Pool, Worker

if TYPE_CHECKING:
    import pytest


class Still(Worker):
    """A worker of two processes that never say anything."""

    def __init__(self) -> None:
        self.ranks = 2
        self.stage = None
        self.processes = []
        self._listeners = []
        self._heartbeats = [Heartbeat(), Heartbeat()]
        reading, self.writing = os.pipe()
        self.lead: Any = SimpleNamespace(stdout=os.fdopen(reading, "rb"))

    def beat(self, *ranks: int) -> None:
        for rank in ranks:
            os.write(self._heartbeats[rank].writing, b".")


def test_a_process_that_sends_no_heartbeat_is_ended_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("harness.execution.heartbeat.time.monotonic", lambda: now[0])
    pool, worker = Pool(1, threads=1, ranks=2, stall_seconds=12.0), Still()
    pool.workers.append(worker)
    pool._selector.register(worker.lead.stdout, 1, worker)

    def looked(*ranks: int, after: float) -> list[tuple[str, str]]:
        worker.beat(*ranks)
        now[0] += after
        return [(event.kind, event.body["message"]) for event in pool.wait(0.0)]

    assert looked(0, 1, after=4.0) == []
    assert looked(0, after=4.0) == looked(0, after=4.0) == []
    assert looked(0, 1, after=4.0) == []  # it beats again
    assert looked(0, after=3600.0) == []  # the parent itself was stopped, and could hear nobody
    assert looked(0, after=4.0) == []
    said = "process 2 of 2 has sent no heartbeat for 0.2 minutes (execution.rank_timeout_minutes)"
    assert looked(0, after=4.0) == [("stalled", said)]
    assert pool.workers == []
    os.close(worker.writing)
    worker.lead.stdout.close()
