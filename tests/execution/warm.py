"""Runs of the command line whose processes are forked from one that has its imports done.

Most of a tiny benchmark's time is the import of torch and transformers, once in every worker. Here one process imports
them, and each run, and each worker of a run, is a fork of it: real processes in the same relations, with pipes,
signals, exit codes and environments of their own. What is about processes themselves, or about what is read from the
environment while importing, is tested in cold ones.

As a script (``python warm.py FD``) this is the process that imports; over the socket ``FD`` it gets a connection for
each run.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import fcntl
import gc
import importlib
import inspect
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

HERE = Path(__file__).resolve()
#: What imports, or what they load, may read; a run for which one of these differs is a cold one.
READ_ONCE = ("HF_", "HARNESS_STRICT", "TORCH", "TRANSFORMERS", "OMP_", "MKL_", "LD_", "LANG", "LC_", "PYTHONIO")
#: Set by PEFT as it is imported, for a compiler that nothing here uses.
_UNREAD = "TORCHINDUCTOR_"
#: What the process with the imports has read, whatever a test sets later; benches are always without the hub.
ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1"}
#: Orphans of a process's children become its own.
_SUBREAPER = 36
#: File descriptors are moved above this number before they get the ones that they should have.
_ABOVE = 512
#: What Popen calls the ends of its pipes.
_PIPES = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")


def works() -> bool:
    """Tell whether processes can be forked and adopted as it is done here."""
    return sys.platform == "linux"


def fits(environment: Mapping[str, str]) -> bool:
    """Tell whether a run in this environment may be a warm one."""
    names = {name for name in {*environment, *ENVIRONMENT} if environment.get(name) != ENVIRONMENT.get(name)}
    return works() and not any(name.startswith(READ_ONCE) and not name.startswith(_UNREAD) for name in names)


class Warm:
    """The process with its imports done, seen from the tests."""

    def __init__(self) -> None:
        """Start it; it imports while others go on."""
        self._near, far = socket.socketpair()
        with far:
            command = [sys.executable, str(HERE), str(far.fileno())]
            self._process = subprocess.Popen(command, pass_fds=[far.fileno()], env=ENVIRONMENT)

    def run(
        self, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Run ``harness`` with these arguments in a folder to its end, and return its exit code and its output."""
        near, far = socket.socketpair()
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, near:
            with far, Path(os.devnull).open("rb") as nothing:
                handed = [far.fileno(), nothing.fileno(), out.fileno(), err.fileno()]
                _send(self._near, {"argv": list(arguments), "env": dict(environment), "cwd": str(folder)}, handed)
            started, _ = _receive(near)
            assert started is not None, "the process with the imports is gone"
            near.settimeout(timeout)
            try:
                answer, _ = _receive(near)
            except TimeoutError:
                os.kill(started["pid"], signal.SIGKILL)  # its workers end with it
                raise
            said = []
            for file in (out, err):
                file.seek(0)
                said.append(file.read().decode(errors="replace"))
            return subprocess.CompletedProcess([*arguments], answer["code"], *said)

    def start(self, message: Mapping[str, Any], descriptors: Sequence[int]) -> int:
        """Start a run that becomes a child of this process, with these descriptors as its 0, 1 and 2; return its id."""
        near, far = socket.socketpair()
        with near, far, _adopting():
            _send(self._near, {**message, "adopted": True}, [far.fileno(), *descriptors])
            started, _ = _receive(near)
        assert started is not None, "the process with the imports is gone"
        return int(started["pid"])

    def close(self) -> None:
        """End it."""
        self._near.close()
        self._process.wait()


@contextlib.contextmanager
def _adopting() -> Iterator[None]:
    """Make children of children that are left alone this process's own, for the time of a start."""
    prctl = ctypes.CDLL(None).prctl
    prctl(_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(_SUBREAPER, 0, 0, 0, 0)


_warm: list[Warm] = []


def warm() -> Warm:
    """Return the one of this test process."""
    if not _warm:
        _warm.append(Warm())
        atexit.register(_warm[0].close)
    return _warm[0]


def _send(to: socket.socket, message: Any, descriptors: Sequence[int] = ()) -> None:
    body = json.dumps(message).encode()
    socket.send_fds(to, [len(body).to_bytes(4, "big")], list(descriptors))
    to.sendall(body)


def _receive(source: socket.socket) -> tuple[Any, list[int]]:
    """Return a message and its descriptors, None where the other side has closed."""
    head, descriptors, _, _ = socket.recv_fds(source, 4, 16)
    if not head:
        return None, []
    wanted, body = int.from_bytes(head, "big"), b""
    while len(body) < wanted:
        body += source.recv(wanted - len(body))
    return json.loads(body), list(descriptors)


def serve(requests: socket.socket) -> Callable[[], Any]:
    """Fork a run for each request; returns, in each of them, what it is to do, and in the server how to end."""
    for name in _modules():
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a collection in a fork would copy all of it
    path = [entry for entry in sys.path if entry not in os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    ended, waker = os.pipe()
    signal.signal(signal.SIGCHLD, lambda *_: None)
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    runs: dict[int, socket.socket] = {}
    while True:
        waited: list[Any] = [requests, ended]
        ready, _, _ = select.select(waited, [], [])
        if ended in ready:
            os.read(ended, 4096)
            for pid in list(runs):
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    with contextlib.suppress(OSError), runs.pop(pid) as who:
                        _send(who, {"code": os.waitstatus_to_exitcode(status)})
        if requests in ready:
            message, descriptors = _receive(requests)
            if message is None:
                return lambda: 0
            asker = socket.socket(fileno=descriptors.pop(0))
            adopted = bool(message.get("adopted"))
            pid = _fork_for_another() if adopted else os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                for other in (requests, asker, *runs.values()):
                    other.detach()  # their numbers are about to be somebody else's
                _become(message, dict(enumerate(descriptors)), path)
                return _command
            with contextlib.suppress(OSError):
                _send(asker, {"pid": pid})
            if adopted:
                asker.close()  # who asked waits for its own child
            else:
                runs[pid] = asker
            for descriptor in descriptors:
                os.close(descriptor)


def _modules() -> list[str]:
    """Return what commands and workers import, but for the plugins of other distributions."""
    import harness_plugins
    from harness import stages
    from harness.cli import COMMANDS

    transformers = ["gpt2", "opt", "gpt_neox", "llama"]
    return [
        *(module for module, _ in COMMANDS.values()),
        *(f"harness.stages.{module.name}" for module in pkgutil.iter_modules(stages.__path__)),
        *(module.name for module in pkgutil.walk_packages(harness_plugins.__path__, "harness_plugins.")),
        "harness.execution.runner",
        "harness.execution.worker",
        "harness.report",
        "nltk.stem.porter",
        "transformers.models.auto.modeling_auto",
        *(f"transformers.models.{name}.modeling_{name}" for name in transformers),
    ]


def _become(message: Mapping[str, Any], descriptors: Mapping[int, int], path: Sequence[str]) -> None:
    """Be the process that was asked for, with its descriptors (by their numbers there), environment and arguments."""
    high = {number: fcntl.fcntl(descriptor, fcntl.F_DUPFD, _ABOVE) for number, descriptor in descriptors.items()}
    os.closerange(0, _ABOVE)
    for number, descriptor in high.items():
        os.dup2(descriptor, number)
        os.close(descriptor)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in {*signal.Signals} - {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE, signal.SIGINT}:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if message.get("session"):
        os.setsid()
    os.chdir(message["cwd"])
    os.environ.clear()
    os.environ.update(message["env"])
    sys.path[:] = [*filter(None, message["env"].get("PYTHONPATH", "").split(os.pathsep)), *path]
    importlib.invalidate_caches()
    sys.argv = list(message["argv"])
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        errors = "backslashreplace" if name == "stderr" else None
        setattr(sys, name, open(number, mode, encoding="utf-8", errors=errors, closefd=False))  # noqa: SIM115


def _command() -> Any:
    """Run the command line; its workers are forked from here, before anything has happened."""
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    near, far = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        near.close()
        for number in (0, 1, 2):
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
        return _fork_workers(far)
    far.close()
    _Forked.forker = near
    from harness.execution import pool

    pool.subprocess = SimpleNamespace(  # type: ignore[attr-defined,assignment]  # what the pool uses of it
        Popen=_Forked, PIPE=subprocess.PIPE, DEVNULL=subprocess.DEVNULL
    )
    from harness.cli import main

    return main(prog_name="harness", args=sys.argv)


def _fork_workers(orders: socket.socket) -> Any:
    """Fork a worker for each order, as a child of who ordered it; return what each has to return, and 0 at the end."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # a cold run has no such process: it ends with who gives it orders
    path = [entry for entry in sys.path if entry not in os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    while True:
        message, descriptors = _receive(orders)
        if message is None:
            return 0
        pid = _fork_for_another()
        if pid == 0:
            orders.detach()
            _become(message, dict(zip(message["numbers"], descriptors, strict=True)), path)
            from harness.execution import worker as module

            return module.main()
        _send(orders, {"pid": pid})
        for descriptor in descriptors:
            os.close(descriptor)


def _fork_for_another() -> int:
    """Fork a process that is at once a child of the next one above that adopts orphans; 0 in it, its id here."""
    reading, writing = os.pipe()
    between = os.fork()
    if between == 0:
        pid = os.fork()
        if pid:
            os.write(writing, str(pid).encode())
            os._exit(0)
        os.close(reading)
        os.close(writing)
        return 0
    os.waitpid(between, 0)
    pid = int(os.read(reading, 32))
    os.close(reading)
    os.close(writing)
    return pid


class Started(subprocess.Popen[str]):
    """A run that is forked, not executed; for everybody else a Popen like any other."""

    def _execute_child(self, args: Any, *others: Any) -> None:
        """Stand in for subprocess's own, which gets all that Popen was called with by position."""
        given = _called_with(others)
        message = {"argv": args[3:], "env": dict(given["env"]), "cwd": str(given["cwd"])}
        try:
            with Path(os.devnull).open("rb") as nothing:
                handed = [nothing.fileno(), given["c2pwrite"], given["errwrite"]]
                self.pid = warm().start(message, handed)
            self._child_created = True
        finally:
            self._close_pipe_fds(*(given[name] for name in _PIPES))  # type: ignore[attr-defined]


class _Forked(subprocess.Popen[bytes]):
    """A worker that is forked, not executed; for everybody else a Popen like any other."""

    forker: socket.socket

    def _execute_child(self, args: Any, *others: Any) -> None:
        """Stand in for subprocess's own, which gets all that Popen was called with by position."""
        given = _called_with(others)
        assert args[1:3] == ["-m", "harness.execution.worker"]
        handed = {0: given["p2cread"], 1: given["c2pwrite"], 2: given["errwrite"]}
        handed |= {number: number for number in given["pass_fds"]}
        message = {
            "argv": args[2:],
            "env": dict(given["env"]),
            "cwd": str(Path.cwd()),
            "session": given["start_new_session"],
            "numbers": list(handed),
        }
        try:
            _send(self.forker, message, list(handed.values()))
            self.pid = _receive(self.forker)[0]["pid"]
            self._child_created = True
        finally:
            self._close_pipe_fds(*(given[name] for name in _PIPES))  # type: ignore[attr-defined]


def _called_with(others: Sequence[Any]) -> dict[str, Any]:
    """Return what Popen was called with, by name."""
    names = list(inspect.signature(subprocess.Popen._execute_child).parameters)[2:]  # type: ignore[attr-defined]
    return dict(zip(names, others, strict=False))


if __name__ == "__main__":
    try:
        code = serve(socket.socket(fileno=int(sys.argv[1])))()
    except SystemExit as ended:
        code = ended.code
    except BaseException:  # noqa: BLE001  # as the interpreter does
        sys.excepthook(*sys.exc_info())
        code = 1
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code or 0)  # taking down what was imported would copy it first
