"""The registry of seeded faults fits the code of today, and its page says what is in it."""

from __future__ import annotations

import ast
import functools
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from seeded.earlier import EARLIER
from seeded.fault import ROOT, SITE, VARIABLE, Edit, Seed, SeedError, edit
from seeded.field import FIELD
from seeded.page import PAGE, with_tables
from seeded.registry import FAULTS, SEEDS
from seeded.run import Outcome, caught

if TYPE_CHECKING:
    from pathlib import Path


@functools.cache
def functions_of(path: Path) -> set[str]:
    """Return the names of the tests of a file, those of classes behind the class."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        inner = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        found |= {f"{prefix}{each.name}" for each in inner if isinstance(each, ast.FunctionDef)}
    return found


def test_every_fault_has_a_seed_or_a_reason() -> None:
    assert [fault.name for fault in FIELD] == [f"S{number}" for number in range(1, 37)]
    assert [fault.name for fault in EARLIER] == [f"H{number}" for number in range(1, 35)]
    assert all(fault.seeds or fault.impossible for fault in FAULTS)
    assert all(fault.seen for fault in FIELD)
    assert all(seed.edits and seed.caught_by for seed in SEEDS.values())


@pytest.mark.parametrize("name", SEEDS)
def test_a_seed_fits_the_code(name: str) -> None:
    sources: dict[Path, str] = {}
    for each in SEEDS[name].edits:
        before = sources.get(each.path) or each.path.read_text(encoding="utf-8")
        sources[each.path] = each.apply(before)
    for path, source in sources.items():
        assert ast.dump(ast.parse(source)) != ast.dump(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", SEEDS)
def test_the_tests_of_a_seed_are_there(name: str) -> None:
    for test in SEEDS[name].caught_by:
        path, _, function = test.partition("::")
        assert function.partition("[")[0] in functions_of(ROOT / path), test


def test_the_page_is_what_the_registry_says() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == with_tables(text), "python tests/seeded/page.py writes it"


def test_a_text_that_is_gone_or_stands_twice_is_told() -> None:
    twice = edit("harness.errors", "one\n", "two\n")
    for source in ("none", "one\none\n"):
        with pytest.raises(SeedError, match=r"^harness/errors.py has [02] times, and not once:\none\n$"):
            twice.apply(source)
    assert twice.apply("zero\none\n") == "zero\ntwo\n"
    assert edit("harness.plan", "", "").path == ROOT / "harness" / "plan" / "__init__.py"


def test_a_fault_reaches_processes_that_are_started_and_no_file() -> None:
    name, seed = "S7.2", SEEDS["S7.2"]
    program = "import harness.text.templates as t; print(t.template_digest.__code__.co_consts)"
    said = []
    for fault in ("", name):
        path = os.pathsep.join(filter(None, (str(SITE), str(ROOT), os.environ.get("PYTHONPATH"))))
        surroundings = {**os.environ, VARIABLE: fault, "PYTHONPATH": path}
        command = [sys.executable, "-c", f"{program}; import inspect; print(t.template_digest.__code__.co_names)"]
        said.append(subprocess.run(command, env=surroundings, capture_output=True, text=True, check=True).stdout)
    assert "text_without_context" in said[0]
    assert "text_without_context" not in said[1]
    assert all(each.old in each.path.read_text(encoding="utf-8") for each in seed.edits)


FAILED = Outcome("tests/a.py::test_b", "call", "failed", "AssertionError: assert 1 == 2")


@pytest.mark.parametrize(
    ("outcome", "says", "expected"),
    [
        (FAILED, "", True),
        (Outcome("t", "call", "failed", "Failed: DID NOT RAISE <class 'ValueError'>"), "", True),
        (Outcome("t", "call", "failed", "NameError: name 'x' is not defined"), "", False),
        (Outcome("t", "call", "failed", "InputError: no such thing"), "no such thing", True),
        (Outcome("t", "call", "failed", "InputError: another thing"), "no such thing", False),
        (Outcome("t", "call", "failed", "Failed: Timeout (>240.0s) from pytest-timeout."), "", False),
        (Outcome("t", "collect", "failed", "AssertionError: while importing"), "", False),
        (Outcome("t", "call", "passed"), "", False),
        (Outcome("t", "setup", "skipped", "AssertionError: no"), "", False),
    ],
)
def test_what_counts_as_caught(outcome: Outcome, says: str, *, expected: bool) -> None:
    seed = Seed((Edit("harness.errors", "a", "b"),), ("t",), says)
    assert (caught(seed, [Outcome("t", "call", "passed"), outcome]) == outcome) is expected
    assert caught(seed, []) is None
