"""What stages that run a model do first: load it, unless the process has it, and find the rows and finished parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from harness.lm.model.policy import Policy
from harness.models.adapter import Adapter
from harness.stages.locate import locate
from harness.store.parts import Parts
from harness.text.formats import format_of
from harness.training.weights import align

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from harness.spec.budget import BudgetPoint
    from harness.spec.model import Template
    from harness.spec.stages.base import Loading, StageConfig
    from harness.stages.request import StageRequest
    from harness.store.records import Record
    from harness.store.stages import Store

#: Models that are kept between stages: a score may ask the policy and the scorer.
_KEPT = 2
_kept: dict[tuple[str, ...], Policy] = {}


def open_parts(request: StageRequest[StageConfig], store: Store, where: Mapping[str, Any]) -> Parts:
    """Return the finished parts of a stage that was killed in this environment, and what keeps further ones."""
    identity = {"stage": request.id, "environment": where}
    return Parts(store.scratch(request.kind, request.id), identity, minutes=request.runtime.checkpoint_minutes)


def load_policy(
    request: StageRequest[StageConfig],
    store: Store,
    parent: str,
    loading: Loading,
    *,
    template: Template | None = None,
    dropout: float = 0.0,
    merged: bool = True,
    at: BudgetPoint | None = None,
) -> Policy:
    """Load a parent's checkpoint for a stage that may change it, with what ends its answers there.

    Its adapter, if it has one, is ``merged`` or stays. The template is the stage's own unless given. With ``at``, it is
    the checkpoint at a point of the parent's budget.
    """
    weights = locate(request, store, parent, at)
    spec = loading.model(request.label)
    policy = Policy.load(weights.folder, spec=spec, device=request.runtime.device, dropout=dropout)
    align(policy.model)  # so that it computes what the model that was saved would
    for number, (folder, settings) in enumerate(weights.adapters, 1):
        adapter = Adapter.load(policy.model, folder, settings)
        if merged or number < len(weights.adapters):
            adapter.merge()
        else:
            policy.adapter = adapter
    template = template or _template(request)
    end_id = format_of(template, policy.tokeniser, where=request.label).end_id
    policy.end_at(policy.stops.first(end_id).named(policy.tokeniser, loading.stop))
    if isinstance(template.chat, str):
        policy.tokeniser.chat_template = template.chat  # what is trained on it is saved with it
    return policy


def _template(request: StageRequest[StageConfig]) -> Template:
    config: Any = request.config
    template: Template = config.template if hasattr(config, "template") else config.asking.template
    return template


def borrow_policy(
    request: StageRequest[StageConfig],
    store: Store,
    parent: str,
    loading: Loading,
    at: BudgetPoint | None = None,
    *,
    merged: bool = True,
) -> Policy:
    """Return a parent's checkpoint for a stage that only reads it: the one that the process has, if it has it."""
    made_by = request.parents[parent]
    key = _key(request, made_by.kind, made_by.id, loading, merged=merged, at=at)
    policy = _kept.pop(key, None)
    if policy is None:
        make_room(_KEPT - 1)
        policy = load_policy(request, store, parent, loading, merged=merged, at=at)
    _kept[key] = policy
    return policy


def lend_policy(request: StageRequest[StageConfig], policy: Policy, loading: Loading) -> None:
    """Keep what a training stage has just written for the stages that read it next.

    ``policy`` must be what :func:`load_policy` would give of the checkpoint; it is no longer the stage's.
    """
    model: nn.Module = policy.model
    if policy.adapter is not None:
        policy.adapter.merge()
        policy.adapter = None
    model.zero_grad(set_to_none=True)
    model.eval()
    make_room(_KEPT - 1)
    _kept[_key(request, request.kind, request.id, loading, merged=True)] = policy


def make_room(most: int = 0) -> None:
    """Forget all but the ``most`` models used last."""
    while len(_kept) > most:
        del _kept[next(iter(_kept))]


def _key(
    request: StageRequest[StageConfig],
    kind: str,
    id_: str,
    loading: Loading,
    *,
    merged: bool,
    at: BudgetPoint | None = None,
) -> tuple[str, ...]:
    template, point = _template(request).model_dump_json(), "" if at is None else at.folder
    return kind, id_, point, loading.model_dump_json(), template, request.runtime.device, "merged" if merged else ""


def prepared_rows(request: StageRequest[StageConfig], store: Store) -> Record:
    """Return the stage that prepared the rows which this one reads."""
    return store.open("prepare", request.parents["rows"].id)


def peak_memory(device: str) -> int:
    """Return the most memory used so far, in bytes: of the device, or of this process."""
    if device != "cpu":
        return int(torch.cuda.max_memory_allocated(device))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
