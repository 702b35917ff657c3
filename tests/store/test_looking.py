"""Who only looks for a stage leaves it where it is, whatever is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from store.stage import ID, KIND, make

from harness.store.damage import Damage
from harness.store.stages import Store

if TYPE_CHECKING:
    from pathlib import Path


def everything(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("name", ["train.jsonl", "manifest.json"])
def test_a_damaged_stage_stays_where_it_is(tmp_path: Path, name: str) -> None:
    make(tmp_path)
    (Store(tmp_path).folder(KIND, ID) / name).write_bytes(b"")
    before = everything(tmp_path)
    store = Store(tmp_path)
    assert isinstance(store.look(KIND, ID), Damage)
    assert store.find(KIND, ID) is None
    assert list(store.records(KIND)) == []
    assert everything(tmp_path) == before
