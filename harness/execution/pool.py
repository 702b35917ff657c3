"""Worker processes that are kept between stages, each with its imports done and its threads fixed."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

from harness.errors import MachineError, StageError
from harness.execution.device import resolve_device
from harness.execution.executors.interface import GOES_ON, GONE, Event
from harness.execution.heartbeat import VARIABLE, Heartbeat
from harness.execution.interrupt import held_back
from harness.training.stop import KEEP

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.execution.executors.interface import Needs
    from harness.execution.executors.survey import NodeReport, SurveyRequest
    from harness.plan import Stage

#: Lines of a worker's standard error kept for the message of a stage that killed it.
_KEPT_LINES = 40

#: Seconds that rank 0 has, once another rank is gone, to say why itself.
_LAST_WORDS = 10.0

#: Events after which a worker is still at its stage, or keeps what it has and ends by itself.
_UNANSWERED = GOES_ON | {"stopped"}

#: Seconds that a worker has, once it is asked to stop, to finish its step and keep its state.
_GRACE = 15.0


class Request(Protocol):
    """What a worker is told."""

    @property
    def kind(self) -> str:
        """``train`` goes to every rank."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""


class Worker:
    """One process, or one process a rank for data-parallel training; rank 0 speaks for all."""

    def __init__(
        self, number: int, *, threads: int, ranks: int, kinds: Sequence[str], gpus: Sequence[str] = ()
    ) -> None:
        """Start the processes; in its idle time a worker imports what stages of ``kinds`` need.

        They see the ``gpus`` alone, if there are some, each rank the one of its number.
        """
        self.number = number
        self.gpus = gpus
        self.ranks = ranks
        self.stage: Stage | None = None
        #: Whether it has said how the stage ended, heard or not.
        self.answered = False
        self.alone_since: float | None = None
        self._rest = b""
        self._said: collections.deque[str] = collections.deque(maxlen=_KEPT_LINES)
        self._listeners: list[threading.Thread] = []
        self._heartbeats: list[Heartbeat] = []
        port = str(_free_port()) if ranks > 1 else ""
        self.processes: list[subprocess.Popen[bytes]] = []
        try:
            for rank in range(ranks):
                self.processes.append(self._start(rank, threads, port, kinds))
        except OSError as error:
            self.stop()
            raise MachineError(f"cannot start a worker process: {error.strerror or error}") from error
        except BaseException:
            self.stop()
            raise
        self.lead = self.processes[0]

    def give(self, stage: Stage, request: Request) -> None:
        """Send a request; every rank takes part in training, rank 0 alone does the rest."""
        self.stage, self.answered = stage, False
        line = json.dumps(request.to_json()) + "\n"
        for process in self.processes if request.kind == "train" else (self.lead,):
            assert process.stdin is not None
            try:
                process.stdin.write(line.encode())
                process.stdin.flush()
            except BrokenPipeError:
                return  # the reader will find the end of its output and report the death

    def read(self) -> list[dict[str, Any]] | None:
        """Return the events that have arrived; None at the end of the output."""
        assert self.lead.stdout is not None
        chunk = os.read(self.lead.stdout.fileno(), 65536)
        if not chunk:
            return None
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        said = [json.loads(line) for line in lines]
        self.answered = self.answered or any(one["event"] not in _UNANSWERED for one in said)
        return said

    def last_words(self) -> str:
        """Return why the process ended, as far as one can know."""
        ended = [process for process in self.processes if process.poll() is not None]
        code = (ended[0] if ended else self.lead).wait()
        reason = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        if code == -signal.SIGKILL:
            reason += " (killed from outside, or by the system for want of memory)"
        said = "\n  ".join(list(self._said)[-5:])
        return f"the worker process ended with {reason}" + (f"\n  {said}" if said else "")

    def is_abandoned(self) -> bool:
        """Return whether another rank has been gone for so long that rank 0 will not notice by itself."""
        if all(process.poll() is None for process in self.processes[1:]):
            return False
        self.alone_since = self.alone_since or time.monotonic()
        return time.monotonic() - self.alone_since > _LAST_WORDS

    def stalled(self, seconds: float) -> str | None:
        """Return which process has sent no heartbeat for so long, in words; None where all have."""
        silent = [rank for rank, heartbeat in enumerate(self._heartbeats) if heartbeat.silence() >= seconds]
        if not silent:
            return None
        who = f"process {silent[0] + 1} of {self.ranks}" if self.ranks > 1 else "the worker process"
        return f"{who} has sent no heartbeat for {seconds / 60:g} minutes (execution.rank_timeout_minutes)"

    def ask_to_keep(self) -> None:
        """Ask the processes to keep what they have, and to go on."""
        for process in self.processes:
            process.send_signal(KEEP)

    def ask_to_stop(self) -> None:
        """Ask the processes to end between two steps and keep what they have."""
        for process in self.processes:
            if process.poll() is None:
                process.terminate()

    def stop(self) -> None:
        """End the processes at once."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
        for process in self.processes:
            process.wait()
        for heartbeat in self._heartbeats:
            heartbeat.close()
        self._heartbeats.clear()
        for process, listener in zip(self.processes, self._listeners, strict=False):  # one may not have been started
            listener.join(timeout=1.0)
            # a process that the worker started may hold its standard error open still
            heard = None if listener.is_alive() else process.stderr
            for stream in (process.stdin, process.stdout, heard):
                if stream is not None:
                    with contextlib.suppress(BrokenPipeError):
                        stream.close()

    def _start(self, rank: int, threads: int, port: str, kinds: Sequence[str]) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "MKL_NUM_THREADS": str(threads),
            "TOKENIZERS_PARALLELISM": "false",
            "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "TRANSFORMERS_VERBOSITY": "warning",  # what means nothing is left out by ``warning_capture``
            "PYTHONIOENCODING": "utf-8:backslashreplace",  # whatever the terminal can show: what is printed is kept
        }
        if self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(self.gpus)
        if self.ranks > 1:
            environment |= {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(self.ranks),
                "LOCAL_WORLD_SIZE": str(self.ranks),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
            }
        heartbeat = Heartbeat()
        self._heartbeats.append(heartbeat)
        try:
            with held_back():
                process = subprocess.Popen(
                    [sys.executable, "-m", "harness.execution.worker", *kinds],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE if rank == 0 else subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    env={**environment, VARIABLE: str(heartbeat.writing)},
                    pass_fds=(heartbeat.writing,),
                    start_new_session=True,  # Ctrl-C reaches the parent alone, which then ends its workers
                )
        finally:
            heartbeat.given()
        listener = threading.Thread(target=self._listen, args=(process,), daemon=True)
        listener.start()
        self._listeners.append(listener)
        return process

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            text = line.decode(errors="replace").rstrip()
            if text:
                self._said.append(text)


class Pool:
    """Up to ``jobs`` workers, started when there is work for them."""

    def __init__(
        self,
        jobs: int,
        *,
        threads: int,
        ranks: int,
        kinds: Sequence[str] = (),
        stall_seconds: float = 600.0,
        gpus: Sequence[Sequence[str]] = (),
    ) -> None:
        """Make an empty pool.

        Args:
            jobs: most workers.
            threads: of each process.
            ranks: processes of each worker.
            kinds: those of the stages that it is for.
            stall_seconds: how long a process may send no heartbeat.
            gpus: those of each worker; all see whatever there is where this is empty.
        """
        self.jobs = jobs
        self.stall_seconds = stall_seconds
        #: Seconds that workers in the middle of a stage have at the end.
        self.grace = _GRACE
        self.kinds = kinds
        self.threads = threads
        self.ranks = ranks
        self.gpus = gpus
        self.workers: list[Worker] = []
        self._selector = selectors.DefaultSelector()
        self._started = 0

    def idle(self) -> Worker | None:
        """Return a worker without a stage, starting one if there is room; None when all are busy."""
        free = next((worker for worker in self.workers if worker.stage is None), None)
        if free is None and len(self.workers) < self.jobs:
            free = self._add()
        return free

    def start(self, wanted: int) -> None:
        """Start the workers that so many stages have work for: they import while they wait."""
        while len(self.workers) < min(self.jobs, wanted):
            self._add()

    def _add(self) -> Worker:
        taken = [worker.gpus for worker in self.workers]
        gpus = next((names for names in self.gpus if names not in taken), ())
        worker = Worker(self._started, threads=self.threads, ranks=self.ranks, kinds=self.kinds, gpus=gpus)
        self._started += 1
        self.workers.append(worker)
        assert worker.lead.stdout is not None
        self._selector.register(worker.lead.stdout, selectors.EVENT_READ, worker)
        return worker

    def device(self, wanted: str) -> str:
        """Return what this machine has; see :func:`harness.execution.device.resolve_device`."""
        return resolve_device(wanted)

    def survey(self, request: SurveyRequest) -> list[NodeReport]:  # noqa: ARG002  # as other executors
        """Return nothing: workers are of this machine, and have what this process has."""
        return []

    def begin(self, stage: Stage, request: Request, needs: Needs | None = None) -> Worker | None:  # noqa: ARG002  # ditto
        """Give a stage to an idle worker; None when all are busy."""
        worker = self.idle()
        if worker is not None:
            worker.give(stage, request)
        return worker

    def busy(self) -> list[Worker]:
        """Return the workers that have a stage."""
        return [worker for worker in self.workers if worker.stage is not None]

    def wait(self, seconds: float) -> Iterator[Event]:
        """Return what the workers say within a time."""
        for key, _ in self._selector.select(seconds):
            worker: Worker = key.data
            bodies = worker.read()
            for body in bodies or ():
                yield self._heard(worker, body.pop("event"), body)
            if bodies is None and worker in self.workers:
                yield self._bury(worker)
        for worker in [worker for worker in self.busy() if worker.is_abandoned()]:
            yield self._bury(worker)
        for worker in list(self.workers):
            stalled = worker.stalled(self.stall_seconds)
            if stalled is not None:
                self.replace(worker)
                yield self._heard(worker, "stalled", {"message": stalled, "exit_code": StageError.exit_code})

    def keep(self) -> None:
        """Let every worker in the middle of a stage keep what it has."""
        for worker in self.busy():
            worker.ask_to_keep()

    def replace(self, worker: Worker) -> None:
        """End a worker; the next request gets a new one."""
        self._selector.unregister(worker.lead.stdout)  # type: ignore[arg-type]  # rank 0's output is always a pipe
        self.workers.remove(worker)
        worker.stop()

    def _bury(self, worker: Worker) -> Event:
        words = worker.last_words()
        self.replace(worker)
        return self._heard(worker, "died", {"message": words, "exit_code": StageError.exit_code})

    def _heard(self, worker: Worker, kind: str, body: dict[str, Any]) -> Event:
        """Return an event; at the end of a stage its worker is free, or another one takes its place."""
        stage = worker.stage
        if kind not in GOES_ON:
            worker.stage = None
            if kind not in GONE | {"done"} and stage is not None and stage.kind == "train" and worker.ranks > 1:
                self.replace(worker)  # its ranks may be out of step
        return Event(worker, stage, kind, body)

    def close(self) -> None:
        """End every worker; one in the middle of a stage may first keep what it has."""
        try:
            for worker in self._at_work():
                worker.ask_to_stop()
            deadline = time.monotonic() + self.grace
            while self._at_work() and time.monotonic() < deadline:
                self._take_in()
        finally:  # asked a second time, it does not wait
            for worker in self.workers:
                worker.stop()
            self.workers.clear()
            self._selector.close()

    def _at_work(self) -> list[Worker]:
        """Return the workers in the middle of a stage: one that has answered lives on, and waits for a request."""
        busy = [worker for worker in self.busy() if not worker.answered]
        return [worker for worker in busy if any(process.poll() is None for process in worker.processes)]

    def _take_in(self) -> None:
        """Read for a moment what workers say, so that none waits for a reader, and who has answered is known."""
        for key, _ in self._selector.select(0.05):
            if key.data.read() is None:
                self._selector.unregister(key.fileobj)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
