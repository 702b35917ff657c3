"""Each thing that can be wrong with a machine or an installation, made once."""

from __future__ import annotations

import errno
import fcntl
import http.server
import json
import os
import threading
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from harness.cli import doctor as command
from harness.cli import main
from harness.doctor import folders, speed
from harness.doctor.caches import check_caches
from harness.doctor.clock import Reading, check_against, check_clock
from harness.doctor.finding import Finding, bytes_text
from harness.doctor.folders import check_results, file_system
from harness.doctor.network import check_network, places
from harness.doctor.plugins import check_plugins
from harness.doctor.processor import check_cores, cores_allowed
from harness.doctor.room import Memory, Needs, check_disk, check_memory, memory
from harness.doctor.speed import Measured, check_speed, frequency, peak
from harness.doctor.versions import check_versions
from harness.plugins.registry import Plugin, Registry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NEEDS = Needs("small (quick)", disk=5_000_000_000, memory=2_000_000_000)
FINE = Measured(one=50e9, all=90e9, threads=2, ran=1.0)


def told(findings: Iterable[Finding]) -> dict[str, list[str]]:
    """Return what is not fine, by its subject; all of it says why and what to do."""
    wrong = [one for one in findings if one.status != "fine"]
    assert all(one.do and (one.why or one.subject == "cache") for one in wrong)
    return {
        one.subject: [f"{other.status}: {other.what}" for other in wrong if other.subject == one.subject]
        for one in wrong
    }


def test_packages_out_of_bounds() -> None:
    installed = {"torch": "3.0", "numpy": "2.1", "peft": "0.1"}

    def version(name: str) -> str:
        if name not in installed:
            raise metadata.PackageNotFoundError(name)
        return installed[name]

    asked = ["torch>=2.11,<2.14", "numpy>=2", "click>=8", "peft>=0.19; extra == 'lora'", "gguf>=1; extra == 'gguf'"]
    found = list(check_versions(asked, version, "3.10.2", ">=3.11"))
    assert told(found) == {
        "Python": [f"prevents: {found[0].what}"],
        "packages": [
            "warns: torch 3.0 is installed, and posttune-harness asks for <2.14,>=2.11",
            "prevents: click is not installed",
            "warns: peft 0.1 is installed, and posttune-harness asks for >=0.19",
        ],
    }
    assert found[0].what.startswith("3.10.2 at ")
    assert told(check_versions()) == {}


def test_cores_that_may_not_be_used(tmp_path: Path) -> None:
    assert told(check_cores(8, 8.0, {})) == {}
    assert told(check_cores(8, 2.5, {"OMP_NUM_THREADS": "2"})) == {"cores": ["notes: 2.5 of 8 may be used"]}
    assert told(check_cores(8, 8.0, {"OMP_NUM_THREADS": "9"}))["threads"] == [
        "warns: OMP_NUM_THREADS is 9, for 8 cores"
    ]
    assert told(check_cores(8, 8.0, {"OMP_NUM_THREADS": "all"}))["threads"] == ["warns: OMP_NUM_THREADS is 'all'"]
    whole = cores_allowed(tmp_path)
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert cores_allowed(tmp_path) == 0.5
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert cores_allowed(tmp_path) == whole
    (tmp_path / "cpu.max").unlink()
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("25000")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert cores_allowed(tmp_path) == 0.25


@pytest.mark.parametrize(
    ("measured", "words"),
    [
        (FINE, None),
        (Measured(50e9, 90e9, 2, 0.3), "this process had a core for 30% of the time"),
        (Measured(5e9, 9e9, 2, 1.0), "9 GFLOP/s on 2 threads, 5 on one; a core could do about 96"),
        (Measured(50e9, 51e9, 2, 1.0), "51 GFLOP/s on 2 threads, 50 on one"),
        (Measured(50e9, 50e9, 1, 1.0), None),
    ],
)
def test_a_product_that_is_slow(measured: Measured, words: str | None, tmp_path: Path) -> None:
    best = peak("processor : 0\ncpu MHz : 2400.0\nflags : fpu sse2 avx2\nprocessor : 1\ncpu MHz : 3000.0\n")
    assert best == 3e9 * 32
    assert peak("Features : fp asimd\n") is None  # whose clock is unknown
    (tmp_path / "cpuinfo_max_freq").write_text("2000000\n")
    assert peak("Features : fp asimd\n", frequency(tmp_path)) == 2e9 * 16
    assert frequency(tmp_path / "absent") is None
    found = told(check_speed(measured, best, 1.5))
    assert (words in found["speed"][0]) if words else found == {}


def test_a_product_is_measured() -> None:
    import torch

    before = torch.get_num_threads()
    found = speed.measure(1, seconds=0.01)
    assert found.one > 1e6
    assert 0 < found.ran <= 1
    assert torch.get_num_threads() == before


def test_memory_that_is_too_little(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text(
        "MemTotal: 8000000 kB\nMemAvailable: 6000000 kB\nSwapTotal: 1000000 kB\nSwapFree: 100000 kB\nHugePages: 0\n"
    )
    system = memory(tmp_path / "meminfo", tmp_path / "none")
    assert system == Memory(8_192_000_000, 6_144_000_000, 1_024_000_000, 921_600_000)
    assert told(check_memory(system, NEEDS)) == {"swap": ["warns: 922 MB of memory lie on disk"]}
    for name, text in {
        "max": "4000000000",
        "current": "3500000000",
        "stat": "anon 1\ninactive_file 1000000000",
    }.items():
        (tmp_path / f"memory.{name}").write_text(text)
    held = memory(tmp_path / "meminfo", tmp_path)
    assert held is not None
    assert (held.total, held.available) == (4_000_000_000, 1_500_000_000)
    assert "warns: 1.5 GB of 4 GB free; small (quick) needs about 2 GB" in told(check_memory(held, NEEDS))["memory"]
    little = Memory(10**9, 10**9, 0, 0)
    assert told(check_memory(little, NEEDS))["memory"][0].startswith("prevents: ")
    assert memory(tmp_path / "absent", tmp_path) is None
    assert [one.status for one in check_memory(None, NEEDS)] == ["notes"]


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    assert told(check_disk(tmp_path, NEEDS, 4_000_000_000))["disk"][0].startswith("prevents: 4 GB free for ")
    assert told(check_disk(tmp_path, NEEDS, 6_000_000_000))["disk"][0].startswith("warns: ")
    assert told(check_disk(tmp_path / "not" / "there", NEEDS, 10**12)) == {}
    assert bytes_text(2.5e15) == "2,500.0 TB"


def test_a_results_folder_that_is_as_it_should_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "_SLOW", 60.0)
    monkeypatch.setattr(folders, "file_system", lambda _: "ext4")
    assert told(check_results(tmp_path)) == {}
    (first,) = check_results(tmp_path / "results")
    assert f"(not there yet; {tmp_path} was tried)" in first.what
    assert list(tmp_path.iterdir()) == []


def test_a_results_folder_with_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "_SLOW", -1.0)
    monkeypatch.setattr(folders, "file_system", lambda _: "nfs4")
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    monkeypatch.setattr("harness.doctor.folders.time.time", lambda: 0.0)
    found = told(check_results(tmp_path))
    assert found["file system"] == [f"warns: {tmp_path} lies on nfs4, on another machine"]
    assert found["locking"] == ["warns: locks do nothing here: two processes hold one at once"]
    assert "to reach the disk" in found["results folder"][0]
    assert "the file system's clock differs from this machine's by +" in found["clock"][0]
    assert list(tmp_path.iterdir()) == []


def test_a_results_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(Path, "open", refuse)
    assert told(check_results(tmp_path)) == {"results folder": [f"prevents: {tmp_path}: Read-only file system"]}


def test_the_kind_of_a_file_system(tmp_path: Path) -> None:
    (tmp_path / "mountinfo").write_text(
        "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:4 / /data\\040two rw shared:1 - nfs4 host:/x rw\nbroken\n"
    )
    assert file_system(Path("/data two/results"), tmp_path / "mountinfo") == "nfs4"
    assert file_system(Path("/data"), tmp_path / "mountinfo") == "ext4"
    assert file_system(Path("/data"), tmp_path / "absent") is None


def test_a_clock_that_is_off() -> None:
    first = Reading(1_800_000_000.0, 10.0)
    assert told(check_clock(first, Reading(1_800_000_005.0, 15.0), newest=1e9)) == {}
    back = told(check_clock(first, Reading(1_799_999_000.0, 15.0), newest=1e9))
    assert back["clock"] == ["warns: it went back by 1005.0 s while this command ran"]
    early = told(check_clock(Reading(0.0, 0.0), Reading(1.0, 1.0), newest=1e9))
    assert early["clock"] == ["warns: it says 1970-01-01 00:00 UTC, and files of the harness are younger"]
    assert told(check_clock(Reading.now(), Reading.now())) == {}
    assert told(check_against(1000.0, 4600.0))["clock"] == ["warns: it differs by +3,600 s from a server's"]
    assert told(check_against(1000.0, 1030.0)) == {}


def test_what_may_be_removed(tmp_path: Path) -> None:
    assert list(check_caches(tmp_path / "results", tmp_path / "hub")) == []
    for place, size in {"hub/a/b": 3_000_000, "results/store/.corrupt/x/y": 2000, "results/store/cache/z": 40}.items():
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / place).write_bytes(bytes(size))
    (tmp_path / "hub" / "link").symlink_to(tmp_path)
    found = [one.what for one in check_caches(tmp_path / "results", tmp_path / "hub")]
    assert found[0].startswith("models and data of the hub: 3 MB in ")
    assert found[1].startswith("replies of judges, and the like: 40 B in ")
    assert found[2].startswith("stages that were damaged, put aside: 2 kB in ")


class _Early(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_response_only(401)
        self.send_header("Date", "Thu, 01 Jan 2015 00:00:00 GMT")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Early) as listening:
        threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()


def test_hubs_that_are_reached_or_not(server: str) -> None:
    found = list(check_network({"the hub": server, "nobody": "http://127.0.0.1:9", "a file": "file:///etc"}, 2.0))
    assert found[0].what.startswith("the hub answers in ")
    assert found[1].what.startswith("it differs by +")
    assert [one.what for one in found[2:]] == [
        "nobody was not reached: [Errno 111] Connection refused",
        "a file was not reached: an address of type file",
    ]
    assert places({"HF_ENDPOINT": server})["the hub"] == server


def test_plugins_that_fail() -> None:
    good = Plugin("method", "a", "method-a", "posttune-harness", "1", "x", "ok")
    bad = Plugin(None, "b", "b", "other", "2", "y", "failed", reason="ImportError: no")
    assert told(check_plugins(Registry([good, bad])))["plugins"] == ["warns: b of other 2 failed: ImportError: no"]
    assert told(check_plugins(Registry([])))["plugins"] == ["prevents: none is installed"]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(speed, "measure", lambda _: FINE)


@pytest.mark.usefixtures("quick")
def test_the_command(tmp_path: Path) -> None:
    found = CliRunner().invoke(main, ["doctor", "--json"])
    assert found.exit_code == 0, found.output
    value: dict[str, Any] = json.loads(found.stdout)
    subjects = {one["subject"] for one in value["findings"]}
    assert subjects >= {"Python", "packages", "plugins", "cores", "device", "speed", "memory", "disk", "clock"}
    assert "network" not in subjects
    assert not value["prevented"]
    assert "dolly (quick) needs about" in next(one["what"] for one in value["findings"] if one["subject"] == "memory")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("quick")
def test_a_benchmark_that_cannot_be_run_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.yaml").write_text("benchmark: mine\nseeds: [0]\n")
    found = CliRunner().invoke(main, ["doctor", "mine.yaml"])
    assert found.exit_code == 1
    assert "✗ benchmark: mine.yaml:1:1: models: is missing" in found.stdout
    assert "    do:  correct what it says\n" in found.stdout
    monkeypatch.setattr(command, "_findings", lambda *_, **__: [Finding("x", "warns", "y", "z", "w")])
    found = CliRunner().invoke(main, ["doctor"])
    assert (found.exit_code, found.stdout) == (0, "! x: y\n    why: z\n    do:  w\n1 warnings\n")
