"""How the source lies: no two files that need each other, none too long to read, and contracts apart from the code."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import TYPE_CHECKING

import grimp
import pytest

import harness

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(harness.__file__).resolve().parent

#: Most lines of a file.
MOST = 400

#: Most lines of all files of a room that has grown too large before.
ROOMS = {"lm": 3_500}


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


def test_files_can_be_read_in_one_go() -> None:
    assert {name for name, length in LENGTHS.items() if length > MOST} == set()


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_stay_as_small_as_they_were_made(room: str) -> None:
    assert sum(length for name, length in LENGTHS.items() if name.startswith(f"{room}/")) <= ROOMS[room]


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
    assert [name for name in names if not (tests / name).exists()] == []
