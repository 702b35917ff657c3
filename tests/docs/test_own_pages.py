"""The commands of the pages for users are run as they stand."""

from __future__ import annotations

import importlib
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from docs.pages import marked_commands, quoted_files
from execution import warm
from execution.bench import PATIENCE
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
#: What `pip install` is told beyond the page, since tests have no network.
OFFLINE = ("--no-deps", "--no-index", "--no-build-isolation", "--quiet")


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Return a function that runs a line of a page where the harness is installed, and returns what it printed."""
    python = environments.make_environment(tmp_path_factory.mktemp("own") / "venv")

    def run(line: str, where: Path, *more: str) -> str:
        program, *arguments = shlex.split(line)
        environment = {**environments.CLEAN, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        if "=" in program:
            name, _, value = program.partition("=")
            environment[name] = value
            program, *arguments = arguments
        if program == "harness" and "dolly" in arguments:
            arguments += [part for text in (*LITTLE, *more) for part in ("-o", text)]
            arguments += ["--jobs", "1"] if "run" in arguments else []
        command = {
            "harness": [str(python), "-m", "harness"],
            "pytest": [str(python), "-m", "pytest"],
            "pip": [sys.executable, "-m", "pip", f"--python={python}"],
            "tar": ["tar"],
        }[program]
        ended = warm.ended if command[0] == str(python) else subprocess.run
        done = ended(
            [*command, *arguments, *(OFFLINE if program == "pip" else ())], env=environment, cwd=where, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PATIENCE,
        )  # fmt: skip
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
