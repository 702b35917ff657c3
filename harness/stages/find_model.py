"""Finding a model that exists: in a folder or on the hub as it is, or to be made of a GGUF file or of an adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from harness.lm.model.load import load_model
from harness.lm.model.policy import Policy
from harness.models.adapter import ADAPTER_CONFIG, adapter_base, adapter_tokenizer, merge_folder
from harness.models.gguf import dequantise, is_gguf
from harness.models.resolve import resolve
from harness.spec.results.models import PreparedModel
from harness.spec.stages.existing_model import HubSource
from harness.stages.model_files import content_digest
from harness.stages.models import content_of
from harness.store.identity import digest
from harness.text.tokenise import Tokeniser

if TYPE_CHECKING:
    from pathlib import Path

    from harness.models.resolve import Resolved
    from harness.spec.model import Model
    from harness.spec.runtime import Runtime
    from harness.spec.stages.base import Loading
    from harness.spec.stages.existing_model import ModelSource


def find(source: ModelSource, loading: Loading, runtime: Runtime) -> tuple[Model, Resolved]:
    """Return the model to load, and where it lies; one of the hub is fetched."""
    revision = source.revision if isinstance(source, HubSource) else None
    spec = loading.model(runtime.name or "", path=runtime.path, base=runtime.base, revision=revision)
    return spec, resolve(spec, {})


def plain_model(place: Path, folder: Path, spec: Model) -> tuple[Path, tuple[str, ...], str | None]:
    """Return a model folder: what was found as it is, or in ``folder`` what is made of it.

    Args:
        place: a model folder, an adapter's, or a GGUF file.
        folder: where a model that has to be made is written.
        spec: how the model is loaded, and the base that the file names for an adapter.

    Returns:
        the folder; what must be known of its weights; the digest of what an adapter of the hub's was merged into.

    Raises:
        InputError: it cannot be read, or does not fit its base.
    """
    where = f"model {spec.name} ({place})"
    if is_gguf(place):
        return folder, (dequantise(place, folder, where=where),), None
    if not (place / ADAPTER_CONFIG).is_file():
        return place, (), None
    base = adapter_base(place, spec.base, where=where)
    located = resolve(base, {})
    below, notes, _ = plain_model(located.folder, folder.with_name(f"{folder.name}-base"), spec)
    policy = _on_base(below, place, spec.model_copy(update={"name": base.name}))
    merge_folder(policy.model, place, where=where)
    policy.save(folder)
    return folder, (*notes, f"an adapter, merged into {base.name}"), content_digest(below)


def _on_base(below: Path, place: Path, spec: Model) -> Policy:
    """Load what an adapter goes on, with the tokenizer and the ends of answers that its folder has, if it has them."""
    from transformers import GenerationConfig

    where = f"model {spec.name} ({below})"
    model: Any = load_model(below, spec, "AutoModelForCausalLM", where=where)
    tokeniser = Tokeniser.load(adapter_tokenizer(place) or below)
    if tokeniser.size > model.get_output_embeddings().weight.shape[0]:
        tokeniser = Tokeniser.load(below)
    if (place / "generation_config.json").is_file():
        model.generation_config = cast("Any", GenerationConfig).from_pretrained(place)
    return Policy(model, tokeniser, dtype=spec.dtype, where=where)


def prepared(source: ModelSource, located: Resolved, runtime: Runtime, *, base: str | None = None) -> PreparedModel:
    """Return what the stage says of the model that was found; ``base`` is the digest of what an adapter goes on."""
    content = content_of(source)  # of an adapter on a folder: both
    if content is None:
        content = content_digest(located.folder)
        content = digest({"adapter": content, "base": base}) if base else content
    return PreparedModel(name=runtime.name, path=runtime.path, revision=located.revision, content=content)
