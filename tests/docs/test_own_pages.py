"""The commands of the pages for users are run as they stand."""

from __future__ import annotations

import importlib
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from docs.pages import marked_commands, quoted_files
from scaffold import environments

from harness.testing import check_method

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Shell = Callable[..., str]

pytestmark = pytest.mark.timeout(900)

#: Laid over a benchmark of a page, so that its run takes seconds.
LITTLE = (
    "seeds=[0]", "train.limit=24", "evaluate=[{dataset: generated-instructions, split: test, limit: 4}]",
    "recipe.epochs=2", "recipe.warmup_steps=0", "validation=null", "metrics=[rouge]", "tables=[scores]",
    "models=[{name: t, vocab_size: 300, config: {model_type: gpt2, n_embd: 8, n_head: 2, n_layer: 1}}]",
)  # fmt: skip


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Return a function that runs a line of a page where the harness is installed, and returns what it printed."""
    folder = tmp_path_factory.mktemp("own") / "venv"
    python = environments.make_environment(folder)
    for name, module in {"harness": "harness", "pytest": "pytest", "pip": "pip"}.items():
        extra = " --no-deps --no-index --no-build-isolation --quiet" if name == "pip" else ""
        interpreter, before = (sys.executable, f" --python={python}") if name == "pip" else (str(python), "")
        command = f"{interpreter} -m {module}{before}"
        script = f'#!/bin/sh\ncase "$1" in install) set -- "$@"{extra};; esac\nexec {command} "$@"\n'
        (python.parent / name).write_text(script, encoding="utf-8")
        (python.parent / name).chmod(0o755)

    def run(line: str, where: Path, *more: str) -> str:
        parts = shlex.split(line)
        if "harness" in parts and "dolly" in parts:
            line += "".join(f" -o {shlex.quote(text)}" for text in (*LITTLE, *more))
            line += " --jobs 1" if "run" in parts else ""
        path = f"{python.parent}:/usr/bin:/bin"
        clean = {**environments.CLEAN, "PATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False, cwd=where, env=clean)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout

    return run


def test_a_method_in_one_file(shell: Shell, tmp_path: Path) -> None:
    files = quoted_files("own-method.md")
    assert list(files) == ["my_method.py"]
    assert len(files["my_method.py"].splitlines()) <= 45
    (tmp_path / "my_method.py").write_text(files["my_method.py"], encoding="utf-8")
    commands = marked_commands("own-method.md", "one file")
    assert 0 < len(commands) <= 10
    printed = [shell(line, tmp_path) for line in commands]
    assert printed[0].startswith("method loo, from my_method.py (")
    assert any(line.startswith("loo ") for line in printed[-1].splitlines())


def test_the_method_of_the_page_keeps_the_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_method.py").write_text(quoted_files("own-method.md")["my_method.py"], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_method", raising=False)
    try:
        check_method(importlib.import_module("my_method").loo)
    finally:
        sys.modules.pop("my_method", None)  # others may load a file of this name


def test_a_method_as_a_distribution(shell: Shell, tmp_path: Path) -> None:
    commands = marked_commands("own-method.md", "a distribution")
    assert 0 < len(commands) <= 10
    printed = [shell(line, tmp_path) for line in commands]
    assert " passed" in printed[2]
    assert any(line.startswith("loo-reinforce ") for line in printed[-1].splitlines())


def test_fetched_there_and_run_here(shell: Shell, tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    for line in marked_commands("offline.md", "there"):
        shell(line, there, "methods=[sft]")
    (there / "carried.tar.gz").rename(here / "carried.tar.gz")
    for line in marked_commands("offline.md", "here"):
        printed = shell(line, here, "methods=[sft]")
    assert any(line.startswith("sft ") for line in printed.splitlines())
