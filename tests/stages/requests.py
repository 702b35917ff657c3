"""Requests as a worker gets them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from harness.spec.runtime import Runtime
from harness.spec.stages.base import StageConfig
from harness.stages.request import Parent, StageRequest
from harness.store.identity import digest

if TYPE_CHECKING:
    from pathlib import Path

    from harness.store.records import Record

Config = TypeVar("Config", bound=StageConfig)


def request(results: Path, config: Config, **parents: Record) -> StageRequest[Config]:
    """Return a request whose id is that of its settings and parents."""
    named = {name: Parent(record.kind, record.id) for name, record in parents.items()}
    identity = digest([config.to_json(), {name: parent.id for name, parent in named.items()}])
    return StageRequest(identity, f"a {config.family} stage", config, named, Runtime(), results)


def silent(done: int, total: int, unit: str, note: str) -> None:
    """Tell nobody."""
