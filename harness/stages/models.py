"""What fixes a model's content before it is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import InputError
from harness.models.folders import MERGE
from harness.spec.stages.existing_model import FolderSource, HubSource
from harness.stages.model_files import content_digest, file_names

if TYPE_CHECKING:
    from harness.spec.model import Model


def model_source(model: Model, path: str | None) -> FolderSource | HubSource:
    """Return a digest of a local folder's content, or the hub's name and revision.

    Raises:
        InputError: for a path that is not a folder with a configuration and safetensors weights.
    """
    if path is None:
        return HubSource(name=model.name, revision=model.revision)
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise InputError(
            "no such model folder", where=path, expected=f"a folder in Hugging Face format for {model.name}"
        )
    if (folder / "adapter_config.json").is_file():
        raise InputError("this is an adapter, not a model", where=path, hint=MERGE)
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
