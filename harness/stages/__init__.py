"""What a stage does. The modules that import torch are loaded only to run a stage."""

from __future__ import annotations

import functools
from importlib import import_module
from typing import TYPE_CHECKING, Any

from harness.plugins import load_registry
from harness.stages.order import Order, Parent, Tell
from harness.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from harness.api.registration import Kind
    from harness.plugins import Registry
    from harness.store import Record

__all__ = ["Order", "Parent", "Tell", "carry_out", "installed", "load", "plugin_names"]

#: Stage kind (and for ``prepare`` and ``precompute`` what is made) to the module whose ``run`` does it.
_MODULES = {
    "prepare/rows": "harness.stages.rows",
    "prepare/tokenizer": "harness.stages.checkpoints",
    "prepare/new-model": "harness.stages.checkpoints",
    "prepare/model": "harness.stages.checkpoints",
    "prepare/classifier": "harness.stages.checkpoints",
    "precompute/reference-logprobs": "harness.stages.reference",
    "train": "harness.stages.train",
    "precompute/reward-model": "harness.stages.reward_model",
    "generate": "harness.stages.generate",
    "score": "harness.stages.score",
}


def carry_out(order: Order, tell: Tell, warned: Sequence[str] = ()) -> Record:
    """Do one stage and commit it; return its record, the stored one where that is there and not to be replaced.

    ``warned`` may grow meanwhile; what it holds in the end is kept beside the result.
    """
    store = Store(order.results)
    earlier = store.find(order.kind, order.id)
    if earlier is not None and not earlier.manifest.get("let_go") and not order.runtime.get("replace"):
        return earlier
    name = f"{order.kind}/{order.config['what']}" if order.kind in {"prepare", "precompute"} else order.kind
    module = import_module(_MODULES[name])
    registry = installed(order.blocked)
    made_by = [registry.find(kind, plugin).maker for kind, plugin in plugin_names(order.config)]
    record: Record = module.run(order, Store(order.results, plugins=made_by, warned=warned), registry, tell)
    return record


def plugin_names(config: Mapping[str, Any]) -> Iterator[tuple[Kind, str]]:
    """Yield kind and name of every plugin that a stage's configuration names."""
    kinds: tuple[Kind, ...] = ("dataset", "method", "metric")
    for kind in kinds:
        if kind in config:
            yield kind, config[kind]
    for part in config.get("reward", {}).get("parts", ()):
        yield "reward", part["use"]


def load(kinds: Iterable[str]) -> None:
    """Import now what stages of these kinds will need: with torch and transformers that takes seconds."""
    for kind in kinds:
        if kind in _MODULES:
            import_module(_MODULES[kind])


@functools.cache
def installed(blocked: tuple[str, ...]) -> Registry:
    """Return the plugins, loaded once in a process: a worker computes with what was installed when it started."""
    return load_registry(blocked=blocked)
