"""The policy with which a training stage starts: with the start's adapter, with a new one, or with none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.models.adapter import Adapter
from harness.spec.results.adapter import AdapterRecord, BaseStage
from harness.stages.setup import load_policy
from harness.training.weights import module_digest

if TYPE_CHECKING:
    from harness.lm.model.policy import Policy
    from harness.spec.recipe import AdapterSettings
    from harness.spec.stages.train import TrainConfig
    from harness.stages.request import StageRequest
    from harness.store.records import Record
    from harness.store.stages import Store


def adapted_start(request: StageRequest[TrainConfig], store: Store) -> tuple[Policy, str, BaseStage]:
    """Load what a training stage starts from, and put the adapter on it that is to be trained.

    An adapter of the start's with the same settings is trained on. One with other settings is merged: all weights, or a
    new adapter, are then trained on top of it.

    Returns:
        the policy; the digest of its weights before anything was merged or put on it, where stored log-probs may be
        compared with it, else empty; the stage that an adapter goes on.
    """
    config, parent = request.config, request.parents["start"]
    wanted, record = config.recipe.adapter, store.open(parent.kind, parent.id)
    policy = load_policy(request, store, "start", config.loading, dropout=config.recipe.dropout, merged=False)
    stored = "reference_logprobs" in request.parents
    digest = module_digest(policy.model) if stored and (wanted or policy.adapter) else ""
    base = BaseStage(kind=record.kind, id=record.id)
    if policy.adapter is not None and goes_on(config, record):
        base = record.read(AdapterRecord).base
    elif policy.adapter is not None:
        policy.adapter.merge()
        policy.adapter = None
    if wanted is not None:
        if policy.adapter is None:
            policy.adapter = Adapter.new(policy.model, wanted, seed=config.seed, where=request.label)
        policy.adapter.keep_start()
    return policy, digest, base


def goes_on(config: TrainConfig, start: Record) -> bool:
    """Return whether a stage trains the very parameters that the stage trained at which it starts."""
    return config.recipe.adapter == _adapter(start)


def _adapter(record: Record) -> AdapterSettings | None:
    return record.read(AdapterRecord).settings if record.holds(AdapterRecord.file) else None
