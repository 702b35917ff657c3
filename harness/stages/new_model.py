"""``prepare``: random weights of a new model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness import disk
from harness.lm.model.initialise import initialise
from harness.spec.results.files import CHECKPOINT
from harness.spec.results.models import PreparedModel
from harness.stages.environment import environment
from harness.stages.trial import try_model
from harness.text.tokenise import Tokeniser

if TYPE_CHECKING:
    from harness.plugins.registry import Registry
    from harness.spec.stages.new_model import NewModelConfig
    from harness.stages.request import StageRequest, Tell
    from harness.store.records import Record
    from harness.store.stages import Store


def run(
    request: StageRequest[NewModelConfig],
    store: Store,
    registry: Registry,  # noqa: ARG001  # the common signature
    tell: Tell,
) -> Record:
    """Draw random weights from the seed, and try the model."""
    tell(0, 0, "file", "")
    where, config = environment(request, device="cpu"), request.config
    tokenizer = store.open("prepare", request.parents["tokenizer"].id).path(CHECKPOINT)
    spec = config.loading.model(request.label, config=config.architecture)
    with store.draft(request.kind, request.id) as draft:
        folder = draft.folder / CHECKPOINT
        with disk.by_library(draft.folder):
            initialise(spec, Tokeniser.load(tokenizer), config.seed, folder)
        positions, way = try_model(folder, spec)
        draft.write(PreparedModel(trained="not at all", positions=positions, way=way))
        return store.commit(draft, config=config.to_json(), environment=where, label=request.label)
