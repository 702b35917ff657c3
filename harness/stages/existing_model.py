"""``prepare``: a language model that exists, in a folder or on the hub."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.stages.environment import environment
from harness.stages.find_model import find, prepared
from harness.stages.trial import try_model
from harness.text.formats import format_of
from harness.text.tokenise import Tokeniser

if TYPE_CHECKING:
    from harness.plugins.registry import Registry
    from harness.spec.stages.existing_model import ModelConfig
    from harness.stages.request import StageRequest, Tell
    from harness.store.records import Record
    from harness.store.stages import Store


def run(
    request: StageRequest[ModelConfig],
    store: Store,
    registry: Registry,  # noqa: ARG001  # the common signature
    tell: Tell,
) -> Record:
    """Find the model, and load it once to see that it is usable."""
    tell(0, 0, "file", "")
    where, config = environment(request, device="cpu"), request.config
    spec, located = find(config.source, config.loading, request.runtime)
    if config.chat is not None:
        format_of(config.chat, Tokeniser.load(located.folder), where=f"model {spec.name}")
    positions, way = try_model(located.folder, spec)
    result = prepared(located, request.runtime).model_copy(update={"positions": positions, "way": way})
    with store.draft(request.kind, request.id) as draft:
        draft.write(result)
        return store.commit(draft, config=config.to_json(), environment=where, label=request.label)
