"""Running one stage in this process."""

from __future__ import annotations

import functools
import platform
from importlib import import_module
from typing import TYPE_CHECKING

from harness.plugins.loader import load_registry
from harness.stages.entries import ENTRIES
from harness.store.stages import Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.plugins.registry import Registry
    from harness.spec.plugins import PluginSelection
    from harness.spec.stages.kinds import AnyStageConfig
    from harness.stages.request import StageRequest, Tell
    from harness.store.records import Record


def run_stage(request: StageRequest[AnyStageConfig], tell: Tell, warned: Sequence[str] = ()) -> Record:
    """Run one stage and commit it; return its record, the stored one where that is there and not to be replaced.

    ``warned`` may grow meanwhile; what it holds in the end is kept beside the result.
    """
    earlier = Store(request.results).find(request.kind, request.id)
    if earlier is not None and not earlier.manifest.get("pruned") and not request.runtime.replace:
        return earlier
    module = import_module(ENTRIES[request.config.kind])
    registry = installed(request.plugins)
    made_by = [registry.find(kind, plugin.name).maker for kind, plugin in request.config.plugins()]
    executor = request.runtime.executor
    ran = None if executor == "local" else {"executor": executor, "host": platform.node()}
    store = Store(request.results, plugins=made_by, warned=warned, ran=ran)
    record: Record = module.run(request, store, registry, tell)
    return record


def load(kinds: Iterable[str]) -> None:
    """Import now what stages of these kinds will need: with torch and transformers that takes seconds."""
    for kind in kinds:
        import_module(ENTRIES[kind])


@functools.cache
def installed(plugins: PluginSelection) -> Registry:
    """Return the plugins, loaded once in a process: a worker computes with what was installed when it started."""
    return load_registry(blocked=plugins.blocked, files=plugins.files)
