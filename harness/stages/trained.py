"""The whole model that a training stage ended with, whatever it lies in: for others, outside any stage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.spec.runtime import Runtime
from harness.spec.stages.kinds import parse_config
from harness.spec.stages.train import TrainConfig
from harness.stages.request import Parent, StageRequest
from harness.stages.setup import load_policy
from harness.store.records import CONFIG

if TYPE_CHECKING:
    from harness.lm.model.policy import Policy
    from harness.store.records import Record
    from harness.store.stages import Store


def trained_policy(record: Record, store: Store) -> Policy:
    """Load what a training stage wrote: the base of its adapters, with all of them merged.

    Raises:
        StageError: a base outside the store is gone, or is not what it was.
    """
    config = parse_config(record.json(CONFIG))
    assert isinstance(config, TrainConfig)
    parents = {"trained": Parent(record.kind, record.id)}
    request = StageRequest(record.id, record.label, config, parents, Runtime(), store.root)
    return load_policy(request, store, "trained", config.loading)
