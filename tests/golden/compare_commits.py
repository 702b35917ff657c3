"""Whether two commits train alike to the bit: ``python tests/golden/compare_commits.py A B``.

Both are checked out into temporary worktrees. Each runs the twenty steps of every method, by twenty.py of *this*
checkout; where their numbers part, method, step and value are said, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[1]))

from golden.twenty import ROOT, differences  # noqa: E402  # the folder of tests is no package

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class CommitError(Exception):
    """A commit that is not there, or cannot run."""


@contextlib.contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """Check a commit out into a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "tree"
        _git("worktree", "add", "--detach", "--quiet", str(place), commit)
        try:
            yield place
        finally:
            _git("worktree", "remove", "--force", str(place))


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommitError(done.stderr.strip())
    return done.stdout.strip()


def values_of(commit: str, only: Sequence[str] = ()) -> dict[str, Any]:
    """Return the courses of all methods of a commit, or of some."""
    with checked_out(commit) as tree:
        packages = (tree, tree / "plugins", tree / "plugins" / "harness-methods")
        surroundings = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, packages)), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(HERE.with_name("twenty.py")), "--json", "--root", str(tree)]
        command += [part for name in only for part in ("--only", name)]
        done = subprocess.run(command, capture_output=True, text=True, env=surroundings, cwd=tree, check=False)
        if done.returncode:
            raise CommitError(f"{commit} cannot be run: {done.stderr.strip().splitlines()[-1]}")
        values: dict[str, Any] = json.loads(done.stdout)
        return values


def main() -> int:
    """Compare two commits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commits", nargs=2, metavar=("A", "B"), help="commits, branches or tags")
    parser.add_argument("--only", action="append", default=[], metavar="METHOD", help="this method; may be repeated")
    asked = parser.parse_args()
    names = [_git("rev-parse", "--verify", f"{commit}^{{commit}}") for commit in asked.commits]
    first, second = (values_of(name, asked.only) for name in names)
    said = differences(first, second)
    count = len(second["float64"])
    shown = " and ".join(f"{given} ({name[:12]})" for given, name in zip(asked.commits, names, strict=True))
    print("\n".join(said) or f"{shown} are equal to the bit in {count} methods, in float64 and in float32")
    return 1 if said else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CommitError as error:
        sys.exit(f"error: {error}")
