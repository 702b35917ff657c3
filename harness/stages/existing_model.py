"""``prepare``: a language model that exists, in a folder or on the hub."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from harness import disk
from harness.spec.results.files import CHECKPOINT
from harness.stages.environment import environment
from harness.stages.find_model import find, plain_model, prepared
from harness.stages.trial import try_model
from harness.text.formats import format_of
from harness.text.tokenise import Tokeniser
from harness.training.checkpoint import writing

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
    """Find the model, or make it of a GGUF file or an adapter, and load it once to see that it is usable."""
    tell(0, 0, "file", "")
    where, config = environment(request, device="cpu"), request.config
    spec, located = find(config.source, config.loading, request.runtime)
    with store.draft(request.kind, request.id) as draft:
        library = disk.by_library(draft.folder)
        with writing(draft.folder), library, TemporaryDirectory(dir=draft.folder) as scratch:
            folder, notes, base = plain_model(located.folder, Path(scratch) / CHECKPOINT, spec)
            if folder.is_relative_to(scratch):
                folder = folder.rename(draft.folder / CHECKPOINT)
        if config.chat is not None:
            format_of(config.chat, Tokeniser.load(folder), where=f"model {spec.name}")
        positions, way = try_model(folder, spec)
        result = prepared(config.source, located, request.runtime, base=base)
        draft.write(result.model_copy(update={"positions": positions, "way": way, "notes": notes}))
        return store.commit(draft, config=config.to_json(), environment=where, label=request.label)
