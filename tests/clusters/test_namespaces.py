"""Two network namespaces with a folder between them as two hosts, whose clocks are weeks apart."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from clusters.nodes import CONTENT, RayCluster, pacing, ray_cluster, same
from execution.bench import PATIENCE, Bench

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("ray")
pytestmark = pytest.mark.timeout(3600)

#: Read by every Python of a host: its clock is 40 days ahead.
AHEAD = """
import datetime
import time

_DAYS = 40
_time, _time_ns, _datetime = time.time, time.time_ns, datetime.datetime
time.time = lambda: _time() + 86400 * _DAYS
time.time_ns = lambda: _time_ns() + 86400 * _DAYS * 10**9


class Ahead(_datetime):
    @classmethod
    def now(cls, tz=None):
        return _datetime.now(tz) + datetime.timedelta(days=_DAYS)


datetime.datetime = Ahead
"""


def may_make_namespaces() -> bool:
    if sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("unshare"):
        return False
    return subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, check=False).returncode == 0


@contextlib.contextmanager
def two_hosts() -> Iterator[tuple[list[str], list[str]]]:
    """Give what runs a command on one host and on the other: namespaces that a cable joins."""
    names = [f"h{os.getpid()}{side}" for side in "ab"]

    def ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, capture_output=True)

    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", names[0], "type", "veth", "peer", "name", names[1])
        for number, name in enumerate(names, 1):
            ip("link", "set", name, "netns", name)
            ip("-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", name)
            ip("-n", name, "link", "set", name, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield (["ip", "netns", "exec", names[0]], ["ip", "netns", "exec", names[1]])
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


@pytest.fixture
def hosts() -> Iterator[tuple[list[str], list[str]]]:
    """Return what runs commands on two hosts; skip where namespaces cannot be made."""
    if not may_make_namespaces():
        pytest.skip("network namespaces need root on Linux")
    with two_hosts() as found:
        yield found


def start(cluster: RayCluster, hosts: tuple[list[str], list[str]], tmp_path: Path, *on_second: str) -> None:
    """Start a head without CPUs on one host, and a node on the other, with another name and another clock."""
    (tmp_path / "ahead").mkdir()
    (tmp_path / "ahead" / "sitecustomize.py").write_text(AHEAD, encoding="utf-8")
    path = os.pathsep.join([str(tmp_path / "ahead"), cluster.environment["PYTHONPATH"]])
    other = ["unshare", "--uts", "--mount", "sh", "-c", " && ".join(["hostname second", *on_second, 'exec "$@"']), "-"]
    cluster.start(0, before=hosts[0], host="10.77.0.1")
    cluster.start(2, before=[*hosts[1], *other], host="10.77.0.2", PYTHONPATH=path)


def run(bench: Bench, hosts: tuple[list[str], list[str]], address: str) -> subprocess.CompletedProcess[str]:
    """Run a benchmark from the first host."""
    command = bench.command("--executor", "ray", "--address", address)
    return subprocess.run(
        [*hosts[0], *command], env=bench.surroundings(), cwd=bench.folder, capture_output=True, text=True, check=False,
        timeout=PATIENCE,
    )  # fmt: skip


def test_another_host_with_another_clock_makes_the_same_tables(
    tmp_path: Path, short: Path, hosts: tuple[list[str], list[str]], patient: dict[str, str], local: Bench
) -> None:
    environment = {**patient, "PATIENT": pacing(tmp_path / "word", 0.0)}
    bench = Bench(tmp_path, CONTENT, environment)
    with ray_cluster(short, environment) as cluster:
        start(cluster, hosts, tmp_path)
        done = run(bench, hosts, cluster.address)
        assert done.returncode == 0, done.stderr
    same(bench, local)
    assert {record.ran["host"] for record in bench.store.records("train")} == {"second"}
    days = {record.manifest["created"][:10] for kind in ("train", "score") for record in bench.store.records(kind)}
    here = {record.manifest["created"][:10] for record in local.store.records("train")}
    assert min(days) > max(here), "the other clock was ahead indeed"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("mount -o bind {results} {results} && mount -o remount,ro,bind {results}", "cannot write where results lie"),
        ("mount -t tmpfs none {results}", "does not see the folder of results"),
    ],
)
def test_a_folder_that_one_host_cannot_use(
    tmp_path: Path,
    short: Path,
    hosts: tuple[list[str], list[str]],
    patient: dict[str, str],
    change: str,
    message: str,
) -> None:
    bench = Bench(tmp_path, CONTENT, patient)
    bench.results.mkdir()
    with ray_cluster(short, patient) as cluster:
        start(cluster, hosts, tmp_path, change.format(results=bench.results))
        done = run(bench, hosts, cluster.address)
    assert done.returncode == 3, done.stderr
    assert f"error: node second: {message}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(bench.store.records("prepare"))
