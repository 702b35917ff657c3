"""What the system sees of a run's writes is what ``harness.disk`` says of them: seen by strace, in every process."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from execution.bench import Bench
from faults.miniature import miniature, surroundings

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.timeout(3600),
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
]

#: Loaded by every Python process of the run before anything else: it writes down each change, a line of JSON each.
NOTING = """
import json
import os
from pathlib import Path

from faults.watchers import Recorder
from harness import disk

ROOT, LOG = Path(os.environ["NOTED_ROOT"]), os.environ["NOTED_IN"]


class Noting(Recorder):
    def note(self, change):
        line = json.dumps([change.kind, change.path, change.source]) + "\\n"
        descriptor = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, line.encode())
        os.close(descriptor)


disk._watcher = Noting(ROOT)
"""

#: System calls by what they do, as :class:`harness.disk.Change` calls it.
CALLS = {
    "open": "write", "openat": "write", "creat": "write", "truncate": "write", "ftruncate": "write",
    "rename": "rename", "renameat": "rename", "renameat2": "rename", "link": "link", "linkat": "link",
    "symlink": "symlink", "symlinkat": "symlink", "mkdir": "folder", "mkdirat": "folder", "fsync": "sync",
    "fdatasync": "sync", "unlink": "remove", "unlinkat": "remove", "rmdir": "remove",
}  # fmt: skip
SAME = {"open": "write", "remove folder": "remove"}

_CALL = re.compile(r"(?:^|\s)(\w+)\((.*)\)\s+= (?:0|\d+(?:<.*>)?)$")


def traced(log: Path, root: Path) -> set[tuple[str, str, str]]:
    """Return the changes below a folder that a log of strace shows: kind, path and what is renamed to it."""
    found = set()
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        call = _CALL.search(line)
        if call is None or call[1] not in CALLS:
            continue
        name, arguments = call[1], call[2]
        if name.startswith("open") and not re.search(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC", arguments):
            continue
        quoted, opened = re.findall(r'"((?:[^"\\]|\\.)*)"', arguments), re.findall(r"<([^<>]*)>", arguments)
        path = quoted[-1] if quoted else opened[-1] if opened else ""
        if quoted and not path.startswith("/"):
            path = f"{opened[0]}/{path}"  # below an open folder, or the working one
        if path.startswith(f"{root}/"):
            found.add((CALLS[name], path, quoted[0] if len(quoted) > 1 else ""))
    return found


def test_strace_sees_no_write_below_the_results_that_does_not_pass_by(tmp_path: Path) -> None:
    bench, site = Bench(tmp_path, miniature()), tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(NOTING, encoding="utf-8")
    noted, log = tmp_path / "noted", tmp_path / "strace"
    environment = surroundings(NOTED_ROOT=str(bench.results), NOTED_IN=str(noted))
    environment["PYTHONPATH"] = os.pathsep.join([str(site), environment["PYTHONPATH"]])
    calls = ",".join(f"?{name}" for name in CALLS)
    command = ["strace", "-ff", "-y", "-qq", "-s", "4096", "-e", f"trace={calls}", "-o", str(log), "--"]
    bench.results.mkdir()
    command += bench.command("--jobs", "1", "--quiet")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if "ptrace" in done.stderr and done.returncode:
        pytest.skip("processes may not be traced here")
    assert done.returncode == 0, done.stderr
    said = set()
    for line in noted.read_text(encoding="utf-8").splitlines():
        kind, path, _ = json.loads(line)
        said.add((SAME.get(kind, kind), path))
    seen = {change for part in tmp_path.glob("strace.*") for change in traced(part, bench.results)}
    # a library may write a file under another name first; of what a data set downloads, only what is left is noted
    written = {path for kind, path in said if kind == "write"}
    first = {source for kind, path, source in seen if kind == "rename" and path in written}
    others = {(kind, path) for kind, path, _ in seen if "/upstream/" not in path and path not in first} - said
    assert not {(kind, path) for kind, path in others if not (kind == "rename" and path in written)}
    assert len(seen) > 200
    assert {kind for kind, *_ in seen} == {"write", "rename", "folder", "sync", "remove"}
