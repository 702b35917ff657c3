"""Write ``locks/tests.txt``: the packages of the tests' environment with their versions and the sha256 of every file.

    python tools/lock.py            # from an environment that passes the tests: keeps its releases, but for faulty ones
    python tools/lock.py --newest   # the newest releases within the bounds of pyproject.toml

uv resolves (``pip install uv``); it fetches metadata alone. The file names no registry and no folder: pip takes the
packages from wherever it is told to, and refuses what has another digest.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import tempfile
from importlib import metadata
from pathlib import Path

import audit

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "locks" / "tests.txt"
HEAD = """\
# Written by tools/lock.py. Installed with: pip install --require-hashes --no-deps -r locks/tests.txt
# Every file of a release is named, for all systems and for Python 3.11 and newer.
"""
#: Of this repository, and so in no registry that the lock could name.
OURS = {"posttune-harness", "posttune-harness-methods"}


def installed() -> str:
    """Return what this environment has, as constraints; local builds (``+cpu``) count as the release they are of."""
    found = {dist.metadata["Name"]: dist.version.partition("+")[0] for dist in metadata.distributions()}
    kept = {name: version for name, version in sorted(found.items()) if name and name not in OURS}
    return "".join(f"{name}=={version}\n" for name, version in kept.items() if not list(audit.known({name: version})))


def resolved(constraints: str) -> str:
    """Return what uv resolves the development extra to.

    Raises:
        SystemExit: there is no uv, or it found no solution; it has said why.
    """
    uv = shutil.which("uv")
    if uv is None:
        raise SystemExit("there is no uv: pip install uv")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "constraints.txt"
        path.write_text(constraints, encoding="utf-8")
        command = [
            uv, "pip", "compile", "pyproject.toml", "--extra", "dev", "--universal", "--python-version", "3.11",
            "--generate-hashes", "--no-header", "--no-annotate", "--quiet", "--constraint", str(path),
        ]  # fmt: skip
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def check(text: str) -> None:
    """Refuse a lock that names an address or a folder.

    Raises:
        SystemExit: it does.
    """
    if found := re.search(r".*(?:://|(?:^|\s)(?:-i|--\w*index|--find-links)|file:|(?:^| )/).*", text, re.MULTILINE):
        raise SystemExit(f"the lock would name a place: {found.group()}")


def main() -> None:
    """Write the lock."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--newest", action="store_true", help="do not keep the releases of this environment")
    text = resolved("" if parser.parse_args().newest else installed())
    check(text)
    LOCK.write_text(HEAD + text, encoding="utf-8")
    print(f"{LOCK.relative_to(ROOT)}: {len(re.findall(r'^[^ #].*==', text, re.MULTILINE))} packages")


if __name__ == "__main__":
    main()
