"""How the source lies: no two files that need each other, none too long to read, and contracts apart from the code."""

from __future__ import annotations

import pkgutil
import re
import runpy
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grimp
import pytest

import harness
import harness_plugins.methods

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

ROOT = Path(harness.__file__).resolve().parent

#: Most lines of a file.
MOST = 400

#: Most lines of all files of a room that has grown too large before, but for rooms in it that have a line of their own.
ROOMS = {"lm": 3_500, "lm/cuda": 1_300}


LENGTHS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8").count("\n") for path in ROOT.rglob("*.py")
}


def circles(graph: grimp.ImportGraph) -> list[set[str]]:
    """Return every set of modules of which each imports each, directly or not (Tarjan 1972, without recursion)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []
    for start in sorted(graph.modules):
        walk: list[tuple[str, Iterable[str]]] = []
        if start not in number:
            walk.append((start, iter(sorted(graph.find_modules_directly_imported_by(start)))))
            number[start] = low[start] = len(number)
            stack.append(start)
        while walk:
            module, others = walk[-1]
            other = next(iter(others), None)
            if other is None:
                walk.pop()
                if walk:
                    low[walk[-1][0]] = min(low[walk[-1][0]], low[module])
                if low[module] == number[module]:
                    place = stack.index(module)
                    found.append(set(stack[place:]))
                    del stack[place:]
            elif other not in number:
                number[other] = low[other] = len(number)
                stack.append(other)
                walk.append((other, iter(sorted(graph.find_modules_directly_imported_by(other)))))
            elif other in stack:
                low[module] = min(low[module], number[other])
    return [circle for circle in found if len(circle) > 1]


def test_circles_are_found() -> None:
    graph = grimp.ImportGraph()
    for pair in ("ab", "bc", "ca", "cd", "de", "ed", "af"):
        graph.add_import(importer=pair[0], imported=pair[1])
    assert sorted(map(sorted, circles(graph))) == [["a", "b", "c"], ["d", "e"]]


@pytest.mark.parametrize("packages", [("harness",), ("harness_plugins",)])
def test_no_two_files_need_each_other(packages: tuple[str, ...]) -> None:
    """What only type checkers read counts too: whoever reads one file has to read the other."""
    graph = grimp.build_graph(*packages, exclude_type_checking_imports=False, cache_dir=None)
    assert circles(graph) == []


def contract(name: str) -> dict[str, Any]:
    """Return one of the contracts that say who may import whom."""
    settings = tomllib.loads((ROOT.parent / "pyproject.toml").read_text(encoding="utf-8"))
    found: dict[str, Any] = next(c for c in settings["tool"]["importlinter"]["contracts"] if c["name"] == name)
    return found


def modules(package: ModuleType, *without: str) -> set[str]:
    """Return the modules right below a package."""
    return {f"{package.__name__}.{module.name}" for module in pkgutil.iter_modules(package.__path__)} - {
        f"{package.__name__}.{name}" for name in without
    }


def test_every_module_of_the_core_has_its_layer() -> None:
    layers = contract("data flows one way")
    assert layers["exhaustive"]
    named = [f"harness.{name}" for layer in layers["layers"] for name in layer.split(" | ")]
    assert sorted(named) == sorted(modules(harness))


def test_whatever_is_not_the_api_is_kept_from_plugins() -> None:
    assert set(contract("a plugin sees the api alone")["forbidden_modules"]) == modules(harness, "api", "__main__")


def test_all_methods_are_kept_from_each_other() -> None:
    """But for what they are built of."""
    independent = contract("methods know nothing of each other")["modules"]
    assert set(independent) == modules(harness_plugins.methods, "building_blocks")


def test_files_can_be_read_in_one_go() -> None:
    assert {name for name, length in LENGTHS.items() if length > MOST} == set()


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_stay_as_small_as_they_were_made(room: str) -> None:
    inside = [other for other in ROOMS if other.startswith(f"{room}/")]
    apart = tuple(f"{other}/" for other in inside)
    own = [length for name, length in LENGTHS.items() if name.startswith(f"{room}/") and not name.startswith(apart)]
    assert 0 < sum(own) <= ROOMS[room]


def test_what_a_stage_is_asked_is_read_by_name() -> None:
    """No room guesses what a configuration holds: its classes say it, and the type checker reads them."""
    guessed = re.compile(r"""(stage|request|record|order)\.(config|runtime)(\[|\.get\()""")
    found = [path.name for path in ROOT.rglob("*.py") if guessed.search(path.read_text(encoding="utf-8"))]
    assert found == []


def test_names_of_files_are_written_once() -> None:
    """What stages leave behind is named beside its class, in one room."""
    rooms = {path: path.relative_to(ROOT).parts[0] for path in ROOT.rglob("*.py")}
    named = re.compile(
        r'"((?:summary|metrics|means|provenance|model)\.json|(?:train|samples|values|pairs|rows)\.jsonl)"'
    )
    found: dict[str, set[str]] = {}
    for path, room in rooms.items():
        for name in named.findall(path.read_text(encoding="utf-8")):
            found.setdefault(name, set()).add(room)
    assert found
    assert {name: where for name, where in found.items() if where != {"spec"}} == {}


def test_the_files_of_tests_that_are_begun_first_exist() -> None:
    tests = Path(__file__).parent
    names = runpy.run_path(str(tests / "conftest.py"))["LONGEST"]
    assert [name for name in names if not ((tests / name).exists() or (tests.parent / name).exists())] == []
