"""Environments in which distributions are installed by pip, with the packages of this one beside them."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Neither settings of this process, nor of its user's pip.
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("HARNESS_", "PYTHON", "PIP_"))}


def make_environment(folder: Path, *, ours: bool = True) -> Path:
    """Make an environment that sees the packages of this one, so that torch need not be installed again.

    With ``ours`` it sees this harness, too. Returns its interpreter.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    lines = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
    if ours:
        found = (importlib.util.find_spec(name) for name in ("harness", "harness_plugins"))
        roots = [str(Path(spec.origin).parents[1]) for spec in found if spec is not None and spec.origin is not None]
        lines += f"import sys; sys.path[:0] = {roots!r}\n"
    (packages(folder) / "outer.pth").write_text(lines, encoding="utf-8")
    return folder / "bin" / "python"


def packages(folder: Path) -> Path:
    """Return where an environment has its packages."""
    return Path(sysconfig.get_path("purelib", scheme="venv", vars={"base": str(folder), "platbase": str(folder)}))


def install(python: Path, *sources: Path, environment: Mapping[str, str] = CLEAN) -> None:
    """Build and install distributions with pip, without a network."""
    quiet = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
    quiet.append("--ignore-installed")  # this harness, where it is seen from outside, is no reason to install nothing
    command = [sys.executable, "-m", "pip", f"--python={python}", "install", *quiet, *map(str, sources)]
    subprocess.run(command, check=True, env=dict(environment))
