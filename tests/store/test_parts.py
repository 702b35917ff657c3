"""Finished parts: used again by the same stage in the same environment, whole or not at all."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import pytest

from harness.store.parts import Parts
from harness.store.stages import Store

if TYPE_CHECKING:
    from pathlib import Path

IDENTITY = {"stage": "a", "environment": {"threads": 1}}


class Computed:
    """Gives values, and counts."""

    def __init__(self) -> None:
        self.keys: list[Any] = []

    def __call__(self, parts: Parts, key: Any) -> Any:
        def compute() -> Any:
            self.keys.append(key)
            return [[key, 0.1 + 0.2, -math.inf, "\ud800"]]

        return parts.keep(key, compute)


def opened(folder: Path, **changes: Any) -> Parts:
    return Parts(folder, {**IDENTITY, **changes}, minutes=1e-9)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Return the folder of a stage that was killed after three parts."""
    parts, computed = opened(tmp_path), Computed()
    for key in (["a"], ["b"], ["c"]):
        computed(parts, key)
    assert len(list(tmp_path.glob("*.parts"))) == 3
    return tmp_path


def test_what_was_kept_is_not_computed_again_and_is_the_same(kept: Path) -> None:
    parts, computed = opened(kept), Computed()
    found = [computed(parts, key) for key in (["a"], ["b"], ["d"])]
    assert found == [[[[key], 0.1 + 0.2, -math.inf, "\ud800"]] for key in "abd"]
    assert computed.keys == [["d"]]
    assert parts.seconds >= 0
    parts.discard()
    assert not kept.exists()


@pytest.mark.parametrize("change", [{"stage": "b"}, {"environment": {"threads": 2}}])
def test_parts_of_another_stage_or_environment_are_not_used(kept: Path, change: dict[str, Any]) -> None:
    parts, computed = opened(kept, **change), Computed()
    computed(parts, ["a"])
    assert computed.keys == [["a"]]


@pytest.mark.parametrize("place", [0, 30, 64, 65, -20, -1])
def test_a_part_with_one_changed_byte_is_dropped(kept: Path, place: int) -> None:
    for path in kept.glob("*.parts"):
        content = bytearray(path.read_bytes())
        content[place] ^= 1
        path.write_bytes(content)
    parts, computed = opened(kept), Computed()
    assert not list(kept.glob("*.parts"))
    computed(parts, ["a"])
    assert computed.keys == [["a"]]


@pytest.mark.parametrize("left", [0, 10, 64, 65, 100])
def test_a_part_that_was_cut_short_is_dropped(kept: Path, left: int) -> None:
    for path in kept.glob("*.parts"):
        path.write_bytes(path.read_bytes()[:left])
    parts, computed = opened(kept), Computed()
    computed(parts, ["a"])
    assert computed.keys == [["a"]]


def test_nothing_is_written_before_it_is_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.store.parts._EVERY", math.inf)
    parts = Parts(tmp_path / "parts", IDENTITY, minutes=math.inf)
    assert Computed()(parts, ["a"])
    assert not (tmp_path / "parts").exists()


def test_the_next_run_removes_what_nobody_goes_on_with(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for name in ("finished", "killed", "old"):
        computed = Computed()
        computed(opened(store.scratch("generate", name)), ["a"])
    os.utime(store.scratch("generate", "old"), (0, 0))
    with store.draft("generate", "finished") as draft:
        store.commit(draft, config={}, environment={}, label="x")
    store.sweep()
    assert [path.name for path in (store.base / ".unfinished").iterdir()] == ["generate-killed"]


def test_states_of_a_stage_that_is_made_again_stay(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.draft("train", "again") as draft:
        draft.write_json("weights.json", {})
        store.commit(draft, config={}, environment={}, label="x")
    store.prune("train", "again", ["weights.json"])
    Computed()(opened(store.scratch("train", "again")), ["a"])
    store.sweep()
    assert store.scratch("train", "again").is_dir()
