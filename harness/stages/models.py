"""What fixes a model's content before it is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import InputError
from harness.models.adapter import ADAPTER_CONFIG, adapter_base
from harness.models.gguf import check_installed, is_gguf
from harness.spec.stages.existing_model import AdapterSource, FolderSource, GgufSource, HubSource
from harness.stages.model_files import content_digest, file_names
from harness.store.identity import digest

if TYPE_CHECKING:
    from harness.spec.model import Model
    from harness.spec.stages.existing_model import ModelSource


def model_source(model: Model, path: str | None) -> ModelSource:
    """Return a digest of a local folder's or file's content, or the hub's name and revision.

    Raises:
        InputError: for a path that is neither a folder with a configuration and safetensors weights, nor an adapter
            whose base is known, nor a GGUF file.
    """
    if path is None:
        return HubSource(name=model.name, revision=model.revision)
    folder = Path(path).expanduser()
    if is_gguf(folder):
        check_installed(path)
        return GgufSource(sha256=content_digest(folder))
    if (folder / ADAPTER_CONFIG).is_file():
        base = adapter_base(folder, model.base, where=path)
        below = model_source(base, base.path)
        assert not isinstance(below, AdapterSource)
        return AdapterSource(files=content_digest(folder), base=below)
    return folder_source(model, path)


def folder_source(model: Model, path: str) -> FolderSource:
    """Return the digest of the content of a folder with a whole model; see :func:`model_source`."""
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise InputError(
            "no such model folder", where=path, expected=f"a folder in Hugging Face format for {model.name}"
        )
    if not (folder / "config.json").is_file():
        raise InputError("this model folder has no config.json", where=path)
    names = file_names(folder)
    if not any(name.endswith(".safetensors") for name in names):
        others = sorted(p.name for p in folder.iterdir() if p.suffix in {".bin", ".pt", ".pth", ".ckpt"})
        raise InputError(
            "this model folder has no weights in safetensors format",
            where=path,
            got=", ".join(others) or None,
            expected="*.safetensors",
            hint="convert other formats first: they can run code when loaded" if others else None,
        )
    return FolderSource(files=content_digest(folder))


def content_of(source: ModelSource) -> str | None:
    """Return what stands for a model in the ids of what is made of it; None where only fetching it tells."""
    if isinstance(source, FolderSource):
        return source.files
    if isinstance(source, GgufSource):
        return source.sha256
    if isinstance(source, AdapterSource):
        below = content_of(source.base)
        return None if below is None else digest({"adapter": source.files, "base": below})
    return None
