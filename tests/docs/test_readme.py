"""The README's commands, table, sketch and code are true."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from harness.cli import COMMANDS
from harness.plugins.loader import load_registry
from harness.testing.bench import TinyRun, train_tiny

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(mark: str) -> list[str]:
    """Return the lines of the fenced block on the line after a mark."""
    found: str
    (found,) = re.findall(rf"^<!-- {mark} -->\n```sh\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return found.splitlines()


def test_it_is_short() -> None:
    assert len(README.splitlines()) < 200


def test_the_two_commands_are_marked() -> None:
    assert re.findall(r"^<!-- (\w+) -->$", README, re.MULTILINE) == ["run", "test"]
    assert block("run")[-1] == ".venv/bin/harness run benchmarks/dolly.yaml"
    assert block("test")[-1] == ".venv/bin/tox"
    for mark in ("run", "test"):  # each alone starts from nothing
        assert block(mark)[0] == "python3 -m venv .venv"


def test_both_commands_and_tox_install_one_torch() -> None:
    (wanted,) = re.findall(r"torch==\S+", "\n".join(block("run")))
    assert f"deps = {wanted}\n" in (ROOT / "tox.ini").read_text(encoding="utf-8")
    assert f" {wanted} " in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_every_command_is_in_the_table() -> None:
    first_cells = re.findall(r"^\| (`harness [^|]+)", README, re.MULTILINE)
    assert {name for cell in first_cells for name in re.findall(r"`harness (\w+)", cell)} == set(COMMANDS)


def test_the_sketch_shows_every_part_of_the_core() -> None:
    sketch = README.rpartition("```\nharness/")[2].partition("```")[0]
    parts = {path.parent.name for path in (ROOT / "harness").glob("*/__init__.py")}
    core, _, rest = sketch.partition("\nplugins/ ")
    assert set(re.findall(r"(?<=  )(\w+)/", core)) == parts
    for folder in re.findall(r"(?:^|  )(\w+)/", rest, re.MULTILINE):
        assert folder == "results" or (ROOT / folder).is_dir()


@pytest.fixture(scope="module")
def registered() -> Any:
    return load_registry()


def trained(method: Any) -> TinyRun:
    outcome = train_tiny(method, tokens=40)
    assert any(abs(row["loss"]["eso"]) > 0 for row in outcome.log)
    return outcome


def test_the_method_is_the_one_that_ships(registered: Any) -> None:
    (code,) = re.findall(r"^```python\n(class ESO:\n.*?)^```$", README, re.DOTALL | re.MULTILINE)
    known: dict[str, Any] = {}
    exec(code, known)  # noqa: S102  # it is the README's code, so that it is right
    shipped = registered.build("method", "eso", {})

    left_out = {name: getattr(shipped, name) for name in ("options", "setup", "state_dict", "load_state_dict")}
    whole = type("Whole", (known["ESO"],), left_out)

    mine, theirs = trained(whole()), trained(shipped)
    for name, weight in theirs.weights.items():
        assert (weight - mine.weights[name]).abs().max() < 1e-12
