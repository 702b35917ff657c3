"""What is recorded of a machine: all that changes last bits, and nothing that names it."""

from __future__ import annotations

import getpass
import json
import os
import platform
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from harness.store.environment import fingerprint
from harness.store.identity import digest


def test_it_holds_what_changes_a_result() -> None:
    found = fingerprint(threads=2, device="cpu", ranks=1)
    assert (found["threads"], found["device"], found["ranks"]) == (2, "cpu", 1)
    assert found["libraries"]["torch"] == metadata.version("torch")
    assert found["python"] == platform.python_version()
    assert found["processor"]
    assert digest(found) == digest(fingerprint(threads=2, device="cpu", ranks=1))
    assert fingerprint(threads=1, device="cpu", ranks=1) != found


def test_it_names_neither_the_machine_nor_its_user() -> None:
    text = json.dumps(fingerprint(threads=1, device="cpu", ranks=1))
    for name in (socket.gethostname(), platform.node(), socket.getfqdn(), str(Path.home()), str(Path.cwd())):
        assert len(name) < 4 or name not in text
    assert os.sep + getpass.getuser() not in text


def test_looking_does_not_import_what_it_looks_at() -> None:
    script = (
        "import sys; from harness.store.environment import fingerprint; fingerprint(threads=1, device='cpu', ranks=1);"
        "print([name for name in ('torch', 'transformers', 'numpy', 'datasets') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
