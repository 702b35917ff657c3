"""Processes of the command line that are forked from one that has its imports done.

Most of a tiny benchmark's time is the import of torch and transformers, once in every worker. Here one process imports
them, and each run, each worker of a run, and whatever else tests start of Python, is a fork of it: real processes in
the same relations, with pipes, signals, exit codes and environments of their own. What is about processes themselves,
or about what is read from the environment while importing, is tested in cold ones.

As a script (``python warm.py FD``) this is the process that imports; over the socket ``FD`` it is told what to start.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import fcntl
import functools
import gc
import importlib
import inspect
import json
import os
import pkgutil
import resource
import runpy
import signal
import site
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pytest

HERE = Path(__file__).resolve()
#: What imports, or what they load, may read; a run for which one of these differs is a cold one.
READ_ONCE = ("TORCH", "TRANSFORMERS", "OMP_", "MKL_", "LD_", "LANG", "LC_", "PYTHONIO")
#: Set by PEFT as it is imported, for a compiler that nothing here uses.
_UNREAD = "TORCHINDUCTOR_"
#: What the process with the imports has read, whatever a test sets later; benches are always without the hub.
ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1"}
#: Read for the hub as they are imported, and again where a process has other variables of the hub.
_READ_FOR_THE_HUB = {"huggingface_hub.constants", "datasets.config", "evaluate.config"}
WORKER = "harness.execution.worker"
#: Signals whose handling a new process of Python sets itself, or nobody can.
_AS_PYTHON_HAS_THEM = {signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGKILL, signal.SIGSTOP}
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


def started(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cold: bool = False,
    mounts: int | None = None,
    largest: int | None = None,
    **more: Any,
) -> subprocess.Popen[str]:
    """Start a command of Python (``-m`` or ``-c``) as Popen does, forked where it may be.

    Args:
        command: with the interpreter.
        env: its whole environment.
        cold: whether it has to do its imports itself.
        mounts: a process whose file systems it sees.
        largest: the most bytes of a file that it writes.
        more: as for Popen.
    """
    more = {"text": True, **more}
    if not cold and fits(env):
        return Forked(command, env=env, mounts=mounts, largest=largest, **more)
    inside = [] if mounts is None else ["nsenter", f"--target={mounts}", "--mount"]
    limit = None if largest is None else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    return subprocess.Popen([*inside, *command], env=env, preexec_fn=limit, **more)  # noqa: PLW1509  # no thread holds a lock here


def ended(command: Sequence[str], *, timeout: float, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, :func:`started` with ``more``, and return its exit code and its output."""
    with started(command, **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}) as process:
        try:
            said = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()  # workers end with who gives them work
            raise
    return subprocess.CompletedProcess([*command], process.returncode, *said)


def fork_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pools of this process fork their workers, where that may be."""
    if fits(os.environ):
        monkeypatch.setattr("harness.execution.pool.subprocess", for_pool(Forked))


class Warm:
    """The process with its imports done, seen from the tests."""

    def __init__(self) -> None:
        """Start it; it imports while others go on."""
        self._near, far = socket.socketpair()
        with far:
            command = [sys.executable, str(HERE), str(far.fileno())]
            self._process = subprocess.Popen(command, pass_fds=[far.fileno()], env=ENVIRONMENT)

    def start(self, message: Mapping[str, Any], descriptors: Sequence[int]) -> int:
        """Start what becomes a child of this process, with these descriptors by their numbers there; return its id."""
        near, far = socket.socketpair()
        with near, far, _adopting():
            _send(self._near, message, [far.fileno(), *descriptors])
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


@functools.cache
def warm() -> Warm:
    """Return the one of this test process."""
    process = Warm()
    atexit.register(process.close)
    return process


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
    """Fork a process for each request; returns, in each of them, what it is to do, and in the server how to end."""
    for name in _modules():
        importlib.import_module(name)
    _do_once()
    gc.collect()
    gc.freeze()  # a collection in a fork would copy all of it
    os.fsync = lambda fd: None  # who is killed loses nothing by it, and a run does it hundreds of times
    path = _own_path()
    while True:
        message, descriptors = _receive(requests)
        if message is None:
            return lambda: 0
        asker = socket.socket(fileno=descriptors.pop(0))
        pid = _fork_for_another()
        if pid == 0:
            for other in (requests, asker):
                other.detach()  # their numbers are about to be somebody else's
            return _become(message, descriptors, path)
        with contextlib.suppress(OSError):
            _send(asker, {"pid": pid})
        asker.close()
        for descriptor in descriptors:
            os.close(descriptor)


def _do_once() -> None:
    """Do what every command does again, and alike, for as long as it is not cached: nothing of it is about a run."""
    from harness.execution.tiny import tiny_policy
    from harness.plugins.loader import load_registry
    from harness.report.page.render import _environment
    from harness.stages.entries import ENTRIES, code_digest

    load_registry(environment={})
    for kind in ENTRIES:
        code_digest(kind)
    tiny_policy()
    templates = _environment()
    for name in templates.list_templates(extensions=["html"]):
        templates.get_template(name)


def _modules() -> list[str]:
    """Return what commands and workers import, but for the plugins of distributions that tests install."""
    import harness_methods
    import harness_plugins
    from harness import report, stages
    from harness.cli import COMMANDS

    transformers = ["gpt2", "opt", "gpt_neox", "llama"]
    return [
        *(module for module, _ in COMMANDS.values()),
        *(f"harness.stages.{module.name}" for module in pkgutil.iter_modules(stages.__path__)),
        *(module.name for module in pkgutil.walk_packages(harness_plugins.__path__, "harness_plugins.")),
        *(module.name for module in pkgutil.walk_packages(harness_methods.__path__, "harness_methods.")),
        *(module.name for module in pkgutil.walk_packages(report.__path__, "harness.report.")),
        "harness.execution.runner",
        "harness.execution.worker",
        "nltk.stem.porter",
        "openai",
        "transformers.models.auto.modeling_auto",
        *(f"transformers.models.{name}.modeling_{name}" for name in transformers),
    ]


def _own_path() -> list[str]:
    """Return where modules are looked for, but for what the environment names."""
    return [entry for entry in sys.path if entry not in os.environ.get("PYTHONPATH", "").split(os.pathsep)]


def _become(message: Mapping[str, Any], descriptors: Sequence[int], path: Sequence[str]) -> Callable[[], Any]:
    """Be the process that was asked for, with its descriptors, environment and arguments; return what it is to do."""
    given = zip(message["numbers"], descriptors, strict=True)
    high = {number: fcntl.fcntl(descriptor, fcntl.F_DUPFD, _ABOVE) for number, descriptor in given}
    os.closerange(0, _ABOVE)
    for number, descriptor in high.items():
        os.dup2(descriptor, number)
        os.close(descriptor)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in {*signal.Signals} - _AS_PYTHON_HAS_THEM:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if message["session"]:
        os.setsid()
    if message["mounts"] is not None:
        with Path(f"/proc/{message['mounts']}/ns/mnt").open("rb") as namespace:
            assert ctypes.CDLL(None).setns(namespace.fileno(), 0) == 0
    if message["largest"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (message["largest"], message["largest"]))
    os.chdir(message["cwd"])
    hub = {name: value for name, value in os.environ.items() if name.startswith("HF_")}
    os.environ.clear()
    os.environ.update(message["env"])
    if hub != {name: value for name, value in os.environ.items() if name.startswith("HF_")}:
        for name in _READ_FOR_THE_HUB & sys.modules.keys():
            importlib.reload(sys.modules[name])
    sys.path[:] = [*filter(None, message["env"].get("PYTHONPATH", "").split(os.pathsep)), *path]
    for folder in _packages(message["python"]):
        site.addsitedir(folder)  # what was installed meanwhile
    importlib.invalidate_caches()
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        errors = "backslashreplace" if name == "stderr" else None
        setattr(sys, name, open(number, mode, encoding="utf-8", errors=errors, closefd=False))  # noqa: SIM115
    how, what, *arguments = message["argv"]
    sys.argv = [what if how == "-m" else how, *arguments]
    if how == "-c":
        return lambda: exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102  # as Python's -c
    if what == "harness":
        return _command
    if what == WORKER:
        return importlib.import_module(WORKER).main  # type: ignore[no-any-return]
    return functools.partial(_run_module, what)


def _packages(python: str) -> list[str]:
    """Return where the packages of an interpreter lie, and be it: it sees at least what this one sees."""
    if python == sys.executable:
        return site.getsitepackages()
    base = str(Path(python).parents[1])
    sys.executable, sys.prefix, sys.exec_prefix = python, base, base
    return [sysconfig.get_path("purelib", scheme="venv", vars={"base": base, "platbase": base})]


def _run_module(name: str) -> None:
    """Do as ``python -m`` does."""
    runpy.run_module(name, run_name="__main__", alter_sys=True)


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
    _ForkedWorker.forker = near
    from harness.execution import pool

    pool.subprocess = for_pool(_ForkedWorker)  # type: ignore[attr-defined]
    from harness.cli import main

    return main(prog_name="harness", args=sys.argv[1:])


def for_pool(start: type[subprocess.Popen[Any]]) -> Any:
    """Return what a pool uses of the module subprocess, with another way to start processes."""
    return SimpleNamespace(Popen=start, PIPE=subprocess.PIPE, DEVNULL=subprocess.DEVNULL)


def _fork_workers(orders: socket.socket) -> Any:
    """Fork a worker for each order, as a child of who ordered it; return what each has to return, and 0 at the end."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # a cold run has no such process: it ends with who gives it orders
    path = _own_path()
    while True:
        message, descriptors = _receive(orders)
        if message is None:
            return 0
        pid = _fork_for_another()
        if pid == 0:
            orders.detach()
            return _become(message, descriptors, path)()
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


class Forked(subprocess.Popen[Any]):
    """A process that is forked, not executed; for everybody else a Popen like any other."""

    def __init__(
        self, command: Sequence[str], *, mounts: int | None = None, largest: int | None = None, **more: Any
    ) -> None:
        """Start ``python -m`` or ``python -c``; ``mounts`` and ``largest`` as in :func:`started`."""
        self._limits = {"mounts": mounts, "largest": largest}
        super().__init__(command, **more)

    def _start(self, message: Mapping[str, Any], descriptors: Sequence[int]) -> int:
        return warm().start(message, descriptors)

    def _execute_child(self, args: Any, *others: Any) -> None:
        """Stand in for subprocess's own, which gets all that Popen was called with by position."""
        given = _called_with(others)
        with Path(os.devnull).open("rb") as nothing:
            handed = {0: nothing.fileno(), 1: 1, 2: 2}
            ends = {0: given["p2cread"], 1: given["c2pwrite"], 2: given["errwrite"]}
            handed |= {number: end for number, end in ends.items() if end != -1}
            handed |= {number: number for number in given["pass_fds"]}
            message = {
                "python": args[0],
                "argv": args[1:],
                "env": dict(given["env"] or os.environ),
                "cwd": str(given["cwd"] or Path.cwd()),
                "session": given["start_new_session"],
                "numbers": list(handed),
                **self._limits,
            }
            try:
                self.pid = self._start(message, list(handed.values()))
                self._child_created = True
            finally:
                self._close_pipe_fds(*(given[name] for name in _PIPES))  # type: ignore[attr-defined]


class _ForkedWorker(Forked):
    """A worker of a run, forked from where the run itself was."""

    forker: socket.socket

    def _start(self, message: Mapping[str, Any], descriptors: Sequence[int]) -> int:
        assert message["argv"][:2] == ["-m", WORKER]
        _send(self.forker, message, descriptors)
        return int(_receive(self.forker)[0]["pid"])


def _called_with(others: Sequence[Any]) -> dict[str, Any]:
    """Return what Popen was called with, by name."""
    names = list(inspect.signature(subprocess.Popen._execute_child).parameters)[2:]  # type: ignore[attr-defined]
    return dict(zip(names, others, strict=False))


if __name__ == "__main__":
    try:
        code = serve(socket.socket(fileno=int(sys.argv[1])))()
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001  # as the interpreter does
        sys.excepthook(*sys.exc_info())
        code = 1
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code or 0)  # taking down what was imported would copy it first
