"""Orders as a worker gets them, and the registry of a test's own plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.stages import Order, Parent
from harness.store.identity import digest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.store import Record


def order(results: Path, kind: str, config: Mapping[str, Any], **parents: Record) -> Order:
    """Return an order whose id is that of its settings and parents."""
    named = {name: Parent(record.kind, record.id) for name, record in parents.items()}
    identity = digest([kind, config, {name: parent.id for name, parent in named.items()}])
    runtime = {"threads": 1, "device": "cpu", "ranks": 1, "concurrent": False, "sources": {}, "path": None}
    runtime |= {"checkpoint_minutes": 10.0, "rank_timeout_minutes": 10.0}
    return Order(kind, identity, f"a {kind} stage", config, named, runtime, results)


def silent(done: int, total: int, unit: str, note: str) -> None:
    """Tell nobody."""
