"""Whole runs of the command line in one process, and forks of it: a stage is done by who hands it out.

What a stage does, what the store does and what is said are those of real runs; what is not there are other processes.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.execution import runner, worker
from harness.execution.device import resolve_device
from harness.execution.executors.interface import Event
from harness.execution.warning_capture import WarningCapture
from harness.stages.entries import ENTRIES, code_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from execution.bench import Bench

#: Seconds after which a fork counts as hanging.
LONGEST = 600.0


class InlineWorker:
    """Who does a stage when it is asked what has become of it."""

    number, ranks = 0, 1

    def __init__(self) -> None:
        self.stage: Any = None
        self.request: dict[str, Any] | None = None

    def give(self, stage: Any, request: Any) -> None:
        """Take a request, as it would come through a pipe."""
        self.stage, self.request = stage, json.loads(json.dumps(request.to_json()))


class InlinePool:
    """A pool of one worker, which is this process."""

    def __init__(self, _opening: Any) -> None:
        self.jobs, self.grace = 1, 0.0
        self._worker = InlineWorker()
        self._warned: list[str] = []
        self._capture = WarningCapture(self._warned.append)
        for kind in ENTRIES:
            code_digest(kind)

    def device(self, wanted: str) -> str:
        return resolve_device(wanted)

    def survey(self, request: Any) -> list[Any]:  # as other executors
        return []

    def begin(self, stage: Any, request: Any, needs: Any) -> InlineWorker | None:  # ditto
        if self._worker.stage:
            return None
        self._worker.give(stage, request)
        return self._worker

    def busy(self) -> list[InlineWorker]:
        return [self._worker] if self._worker.stage else []

    def keep(self) -> None:
        """There is nobody at work who could be asked."""

    def close(self) -> None:
        """Nothing is left of it."""

    def wait(self, seconds: float) -> Iterator[Event]:
        """Do the stage that was handed out."""
        request, self._worker.request = self._worker.request, None
        if request is None:
            return
        self._warned.clear()
        answer = worker._do(worker._parse(request), io.StringIO(), self._capture)
        me: Any = self._worker
        stage, self._worker.stage = self._worker.stage, None
        for text in self._warned:
            yield Event(me, stage, "warned", {"text": text})
        yield Event(me, stage, answer.pop("event"), answer)


def command(*arguments: str) -> int:
    """Run ``harness`` in this process and return its exit code."""
    from harness.cli import main

    vars(runner)["open_executor"] = InlinePool  # for the whole life of this process, which is for such runs
    try:
        main(prog_name="harness", args=[*arguments])
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


@dataclass(frozen=True)
class Ended:
    """How a fork ended."""

    code: int
    """Its exit code; minus the number of a signal."""
    said: str
    """What it printed."""
    gave: Any
    """What its action returned; None where it came to no end."""


def forked(action: Callable[[], Any], place: Path) -> Ended:
    """Do an action in a fork; what it prints, and the plain JSON it returns, pass through files below ``place``."""
    said, gave = place / f"said-{os.getpid()}", place / f"gave-{os.getpid()}"
    gave.unlink(missing_ok=True)
    code = wait_for_fork(fork_into(lambda: _keep(gave, action()), said))
    text = said.read_text(encoding="utf-8", errors="replace")
    return Ended(code, text, json.loads(gave.read_bytes()) if gave.exists() else None)


def wait_for_fork(pid: int) -> int:
    """Wait until a fork ends and return its exit code, or minus the number of the signal that ended it."""
    deadline = time.monotonic() + LONGEST
    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise AssertionError("a fork hangs")
        time.sleep(0.002)
    return os.waitstatus_to_exitcode(ended[1])


def print_into(path: Path) -> None:
    """Let this process print into a file."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for number in (1, 2):
        os.dup2(descriptor, number)
    for name, number in (("stdout", 1), ("stderr", 2)):
        setattr(sys, name, open(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False))  # noqa: SIM115


@contextlib.contextmanager
def printing_into(path: Path) -> Iterator[None]:
    """Let this process print into a file in the block."""
    sys.stdout.flush()
    sys.stderr.flush()
    before, kept = (sys.stdout, sys.stderr), [os.dup(number) for number in (1, 2)]
    print_into(path)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before
        for number, descriptor in zip((1, 2), kept, strict=True):
            os.dup2(descriptor, number)
            os.close(descriptor)


def fork_into(action: Callable[[], Any], said: Path) -> int:
    """Do an action in a fork that prints into a file, whose exit code it is where it is a number; return its id."""
    pid = os.fork()
    if pid:
        return pid
    code: Any = 70
    try:
        print_into(said)
        code = action()
    except BaseException:  # noqa: BLE001  # as the interpreter does
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(code if isinstance(code, int) else 0)


def _keep(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def damaged(bench: Bench) -> list[str]:
    """Return every file of a finished stage that is not what was written: a run checks those that it reads."""
    return [
        str(damage.folder / damage.file)
        for kind in bench.store.kinds()
        for record in bench.store.records(kind)
        for damage in record.damages()
    ]


def outcome(bench: Bench, *, spoilt: Collection[str] = ()) -> dict[str, Any]:
    """Return all that a run comes to but timings: numbers, texts and weights by their sha256.

    Each is checked; what a test has ``spoilt`` may still be so, where nothing has read it.
    """
    assert not (wrong := set(damaged(bench)) - set(spoilt)), wrong
    stages = {"/".join([*key, name]): sha for key, files in bench.digests().items() for name, sha in files.items()}
    found: dict[str, Any] = json.loads(json.dumps(stages | bench.tables()))  # as it comes back from a fork
    return found


def differing(one: dict[str, Any], other: dict[str, Any] | None) -> list[str]:
    """Return what two outcomes do not have in common."""
    return [
        f"{name}: {json.dumps(one.get(name))[:300]} is {json.dumps((other or {}).get(name))[:300]}"
        for name in sorted(one.keys() | (other or {}).keys())
        if one.get(name) != (other or {}).get(name)
    ]


def left(results: Path) -> list[str]:
    """Return what a run should have cleared away: drafts, states, parts, marks, and files that were not finished."""
    names = (path.relative_to(results) for path in sorted(results.rglob("*")) if path.is_file())
    kept = {".failed", ".corrupt"}  # for people to read
    hidden = (name for name in names if any(part.startswith(".") for part in name.parts))
    return [name.as_posix() for name in hidden if not kept.intersection(name.parts)]
