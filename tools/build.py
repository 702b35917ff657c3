"""Build both distributions, the same bytes for the same commit.

    python tools/build.py [FOLDER]     # dist/ by default; tells the sha256 of each file

Times in the files are that of the commit (``SOURCE_DATE_EPOCH``), whenever and wherever they are built.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: The folders of both distributions, below the repository.
SOURCES = (".", "plugins/harness-methods")


def commit_time(root: Path = ROOT) -> str:
    """Return the seconds since 1970 at which the commit was made."""
    command = ["git", "-C", str(root), "log", "-1", "--format=%ct"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def build(root: Path, target: Path, epoch: str) -> list[Path]:
    """Build a wheel and an sdist of both distributions below ``root`` into ``target``, and return the files."""
    for source in SOURCES:
        subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "-d", str(target.absolute()), "-t", "wheel", "-t", "sdist"],
            cwd=root / source, check=True, capture_output=True, env={**os.environ, "SOURCE_DATE_EPOCH": epoch},
        )  # fmt: skip
    return sorted(target.iterdir())


def main() -> None:
    """Build what is committed.

    Raises:
        SystemExit: the working tree has changes, which no commit would name.
    """
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "dist")
    folder = parser.parse_args().folder
    status = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, check=True, capture_output=True, text=True)
    if status.stdout:
        raise SystemExit(f"there are changes that no commit has:\n{status.stdout}")
    folder.mkdir(parents=True, exist_ok=True)
    for path in build(ROOT, folder, commit_time()):
        print(hashlib.sha256(path.read_bytes()).hexdigest(), path.name)


if __name__ == "__main__":
    main()
