"""Compiling: with the compiler of the machine, without one, with a bad one, and several at once."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch
from stages.orders import order

from harness.lm.native import library
from harness.lm.native.activation import gelu_tanh
from harness.lm.score.trees import Forest, Tree
from harness.stages.setup import environment

if TYPE_CHECKING:
    from pathlib import Path

_ASK = """
import torch
from harness.lm.native.library import available
from harness.lm.native.activation import gelu_tanh
print(available(), float(gelu_tanh(torch.ones(3))[0]))
"""


def ask(**environment: str) -> list[str]:
    """Ask a fresh process whether it has kernels."""
    process = subprocess.run(
        [sys.executable, "-c", _ASK], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    assert process.stderr == ""
    said = process.stdout.split()
    assert float(said[1]) == pytest.approx(0.841192, abs=1e-6)
    return said


def kept(cache: Path) -> list[Path]:
    return sorted((cache / "posttune-harness").iterdir())


@pytest.mark.usefixtures("own_kernels")
def test_they_are_compiled_once_for_a_cache(tmp_path: Path) -> None:
    assert ask(XDG_CACHE_HOME=str(tmp_path))[0] == "True"
    (made,) = kept(tmp_path)
    before = made.stat().st_mtime_ns
    assert ask(XDG_CACHE_HOME=str(tmp_path))[0] == "True"
    (again,) = kept(tmp_path)
    assert (again, again.stat().st_mtime_ns) == (made, before)


@pytest.mark.usefixtures("own_kernels")
@pytest.mark.parametrize("damage", ["truncated", "another bit"])
def test_damaged_ones_are_never_loaded_but_compiled_again(tmp_path: Path, damage: str) -> None:
    ask(XDG_CACHE_HOME=str(tmp_path))
    (made,) = kept(tmp_path)
    content = made.read_bytes()
    spoilt = bytearray(content)
    spoilt[len(spoilt) // 3] ^= 1
    made.write_bytes(content[: len(content) // 2] if damage == "truncated" else bytes(spoilt))
    again = subprocess.run(
        [sys.executable, "-c", _ASK], env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert again.stdout.split() == ["True", again.stdout.split()[1]]
    assert float(again.stdout.split()[1]) == pytest.approx(0.841192, abs=1e-6)
    assert again.stderr.count("the compiled kernels are damaged, and are compiled again") == 1
    (whole,) = kept(tmp_path)
    assert hashlib.sha256(whole.read_bytes()).hexdigest() in whole.name
    ask(XDG_CACHE_HOME=str(tmp_path))  # and says nothing


@pytest.mark.usefixtures("own_kernels", "torch_as_it_was")
def test_results_say_which_were_used(tmp_path: Path) -> None:
    found = environment(order(tmp_path, "score", {}))
    assert found["kernels"] == "own"
    assert found["kernels_sha256"] == library.digest()
    assert len(found["kernels_sha256"]) == 64


@pytest.mark.usefixtures("own_kernels")
def test_processes_may_compile_at_once(tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-c", _ASK]
    processes = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate()[0].split()[0] for process in processes] == ["True"] * 3
    assert len(kept(tmp_path)) == 1  # nothing half made is left


@pytest.mark.usefixtures("own_kernels")
def test_without_a_cache_they_are_compiled_all_the_same(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("", "utf-8")
    assert ask(XDG_CACHE_HOME=str(blocked))[0] == "True"


@pytest.mark.usefixtures("own_kernels")
def test_a_folder_that_others_may_write_is_not_trusted(tmp_path: Path) -> None:
    folder = tmp_path / "posttune-harness"
    folder.mkdir()
    folder.chmod(0o777)
    assert ask(XDG_CACHE_HOME=str(tmp_path))[0] == "True"
    assert kept(tmp_path) == []


@pytest.mark.parametrize("compiler", ["false", "no-such-compiler -O1"])
def test_a_compiler_that_fails_leaves_torchs(tmp_path: Path, compiler: str) -> None:
    assert ask(CC=compiler, XDG_CACHE_HOME=str(tmp_path))[0] == "False"


def test_no_compiler_leaves_torchs(tmp_path: Path) -> None:
    assert ask(PATH=str(tmp_path), CC="", XDG_CACHE_HOME=str(tmp_path))[0] == "False"


def test_a_compiler_without_openmp_leaves_torchs(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    script = tmp_path / "cc"
    script.write_text(
        f'#!/bin/sh\nfor each in "$@"; do [ "$each" = -fopenmp ] && exit 1; done\nexec {compiler} "$@"\n', "utf-8"
    )
    script.chmod(0o755)
    assert ask(CC=str(script), XDG_CACHE_HOME=str(tmp_path))[0] == "False"


@pytest.mark.usefixtures("own_kernels")
def test_a_compiler_that_cannot_tune_is_enough(tmp_path: Path) -> None:
    script = tmp_path / "cc"
    script.write_text(
        '#!/bin/sh\nfor each in "$@"; do case "$each" in -m*=native) exit 1;; esac; done\n'
        f'exec {shutil.which("cc") or "cc"} "$@"\n',
        "utf-8",
    )
    script.chmod(0o755)
    assert ask(CC=str(script), XDG_CACHE_HOME=str(tmp_path))[0] == "True"


def test_the_switch_leaves_torchs() -> None:
    assert ask(**{library.SWITCH: "torch"})[0] == "False"


@pytest.mark.usefixtures("own_kernels")
@pytest.mark.parametrize("tuned", ["-march=x86-64", "-march=haswell", "-march=x86-64-v4"])
def test_every_width_of_vectors_gives_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tuned: str) -> None:
    """The code of processors with other registers, as far as this one can run it."""
    if sys.platform != "linux" or "flags" not in (described := library._processor()):
        pytest.skip("not an x86-64 Linux")
    if {"-march=haswell": "avx2", "-march=x86-64-v4": "avx512f"}.get(tuned, "") not in described:
        pytest.skip(f"this processor cannot run {tuned}")
    trees = (Tree(50, (23, 49)), Tree(5, (7,)))
    generator = torch.Generator().manual_seed(0)
    states = [torch.randn(134, 2, 20, generator=generator, requires_grad=True) for _ in range(3)]

    def outcome() -> list[torch.Tensor]:
        found = Forest(trees)(0, states[0], states[1], states[2], 0.3)
        return [found, *torch.autograd.grad(found.square().sum(), states), gelu_tanh(states[0])]

    expected = outcome()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(library, "_TUNED", ((tuned,),))
    built = library._typed(library._built(())[0], library._TYPES[torch.float32][0])
    monkeypatch.setattr(library, "_load", lambda _: built)
    for one, other in zip(outcome(), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4)
