"""``prepare``: a reward model that exists, in a folder or on the hub."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from harness.lm.score.reward_model import Classifier
from harness.stages.find_model import find, prepared
from harness.store.environment import fingerprint
from harness.text.formats import format_of

if TYPE_CHECKING:
    from harness.plugins.registry import Registry
    from harness.spec.stages.existing_model import ClassifierConfig
    from harness.stages.request import StageRequest, Tell
    from harness.store.records import Record
    from harness.store.stages import Store


def run(
    request: StageRequest[ClassifierConfig],
    store: Store,
    registry: Registry,  # noqa: ARG001  # the common signature
    tell: Tell,
) -> Record:
    """Find the classifier, and load it once to see that it gives one number."""
    tell(0, 0, "file", "")
    config = request.config
    spec, located = find(config.source, config.loading, request.runtime)
    network = Classifier(located.folder, spec, torch.device("cpu"))
    if config.chat is not None:
        format_of(config.chat, network.tokeniser, where=f"reward model {spec.name}")
    with store.draft(request.kind, request.id) as draft:
        draft.write(prepared(config.source, located, request.runtime))
        where = fingerprint(threads=request.runtime.threads, device="cpu", ranks=1)
        return store.commit(draft, config=config.to_json(), environment=where, label=request.label)
