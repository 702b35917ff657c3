"""A Ray cluster of several nodes on this machine, and a benchmark whose training takes long enough to be disturbed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from execution.bench import PATIENCE, Bench, alive, kill_tree, tiny
from execution.patient import wanting

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: A method that waits at each step, and tells in a file which steps it makes.
CONTENT = tiny(methods=["sft", "patient"], execution={"checkpoint_minutes": 0.001})
#: Ray's own patience, for machines that do ten other things.
_PATIENT_RAY = {
    "RAY_agent_register_timeout_ms": "600000",
    "RAY_worker_register_timeout_seconds": "600",
    "RAY_USAGE_STATS_ENABLED": "0",
}
_TRIES = 3


def pacing(folder: Path, seconds: float = 0.3) -> str:
    """Return the value of ``PATIENT`` that lets the method wait so long at each step."""
    return wanting("pace", folder, seconds=seconds)


def steps(folder: Path) -> list[tuple[int, int]]:
    """Return each step that the method made so far, with the process that made it."""
    try:
        lines = (folder / "steps").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return [(int(step), int(pid)) for step, _, pid in (line.partition(" ") for line in lines) if pid]


def wait_until(true: Any) -> Any:
    """Wait until a function returns something, and return that."""
    deadline = time.monotonic() + PATIENCE
    while not (found := true()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def same(bench: Bench, other: Bench) -> None:
    """Check that two runs have made the same stages, to the bit, and the same tables."""
    assert bench.digests() == other.digests()
    assert bench.tables() == other.tables()


@dataclass
class RayCluster:
    """Nodes of Ray, each a real ``ray start``."""

    folder: Path
    environment: dict[str, str]
    port: int = 0
    nodes: list[int] = field(default_factory=list)
    """The process of each node's raylet; the head first."""
    address: str = ""

    def start(self, cpus: int, *, before: Sequence[str] = (), host: str = "127.0.0.1", **environment: str) -> int:
        """Start a node, the head first; return its place among the nodes."""
        ray = [str(Path(sys.executable).with_name("ray")), "start", "--disable-usage-stats", f"--num-cpus={cpus}"]
        ray += [f"--node-ip-address={host}", "--object-store-memory=100000000"]
        agents = ("--dashboard-agent-grpc-port", "--dashboard-agent-listen-port", "--runtime-env-agent-port")
        for _ in range(_TRIES):
            more = [f"{option}={_free_port()}" for option in (*agents, "--metrics-export-port")]
            if self.nodes:
                more.append(f"--address={self.address}")
            else:
                self.port = _free_port()
                self.address = f"{host}:{self.port}"
                more += ["--head", f"--port={self.port}", "--include-dashboard=false", f"--temp-dir={self.folder}"]
            known = set(self._raylets())
            done = subprocess.run(
                [*before, *ray, *more], env={**os.environ, **_PATIENT_RAY, **self.environment, **environment},
                capture_output=True, text=True, check=False, timeout=PATIENCE,
            )  # fmt: skip
            if done.returncode == 0:
                (raylet,) = set(self._raylets()) - known
                self.nodes.append(raylet)
                return len(self.nodes) - 1
            if not self.nodes:
                self.stop()
        raise AssertionError(done.stdout + done.stderr)

    def kill(self, node: int) -> None:
        """Let a node go down, with everything on it."""
        kill_tree(self.nodes[node])

    def node_of(self, pid: int) -> int:
        """Return on which node a process runs."""
        while pid not in self.nodes:
            pid = int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
        return self.nodes.index(pid)

    def stop(self) -> None:
        """End every process of the cluster."""
        for pid in self._processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not any(map(alive, self._processes())))
        shutil.rmtree(self.folder, ignore_errors=True)
        self.nodes.clear()

    def _raylets(self) -> list[int]:
        return [pid for pid, command in self._commands() if "/raylet/raylet" in command.split("\0")[0]]

    def _processes(self) -> list[int]:
        return [pid for pid, _ in self._commands()]

    def _commands(self) -> Iterator[tuple[int, str]]:
        """Yield the processes that name the cluster's folder or its address."""
        for place in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                command = place.read_text(encoding="utf-8", errors="replace")
                mine = int(place.parent.name) != os.getpid() and "pytest" not in command
                if mine and (f"{self.folder}/" in command or (self.address and f"={self.address}" in command)):
                    yield int(place.parent.name), command


@contextlib.contextmanager
def ray_cluster(folder: Path, environment: dict[str, str]) -> Iterator[RayCluster]:
    """Give a cluster without nodes; it ends with the block."""
    pytest.importorskip("ray")
    cluster = RayCluster(folder, environment)
    try:
        yield cluster
    finally:
        cluster.stop()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
