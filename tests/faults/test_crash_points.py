"""Every point at which a miniature run of each method may be interrupted, in every way: the results are the same."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from execution.bench import Bench
from faults.miniature import BUILT_IN, OTHERS, enumerated, miniature

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

pytestmark = pytest.mark.timeout(3 * 3600)

#: Of the tables and pages that every run writes alike, one in so many changes is tried again.
TABLES = 10

WAYS = {"full", "error", "kill", "torn", "power failure, content lost", "power failure, names lost"}


def test_every_point_of_a_run_from_nothing(tmp_path: Path) -> None:
    found = enumerated(tmp_path, miniature())
    assert not found["wrong"]
    assert found["tried"] == found["points"] > 300
    assert set(found["faults"]) == WAYS
    assert found["states"] > 200


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Mapping[bool, Path]:
    """Return the results of SFT, which other methods start from: of instructions, and of pairs."""
    places = {}
    for pairs, content in ((False, miniature()), (True, {**BUILT_IN["dpo"], "methods": ["sft"]})):
        bench = Bench(tmp_path_factory.mktemp("begun"), content)
        bench.run("--jobs", "1", "--quiet")
        places[pairs] = bench.results
    return places


def points(name: str, content: Mapping[str, Any], begun: Mapping[bool, Path], folder: Path, every: int) -> None:
    shutil.copytree(begun["generated-preferences" in str(content)], folder / "results")
    found = enumerated(folder, content, every=every, tables=TABLES)
    assert not found["wrong"], name
    assert found["tried"] > found["points"] / every / 4 > 5
    assert WAYS >= set(found["faults"]) >= {"full", "error", "kill", "torn"}


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_point_of_what_each_method_adds(name: str, begun: Mapping[bool, Path], tmp_path: Path) -> None:
    points(name, BUILT_IN[name], begun, tmp_path, 1)


@pytest.mark.parametrize("name", OTHERS)
def test_some_points_of_what_other_methods_add(name: str, begun: Mapping[bool, Path], tmp_path: Path) -> None:
    points(name, OTHERS[name], begun, tmp_path, 7)
