"""Where a model lies on this machine: in a folder of the user's, or in the hub's cache once it was fetched."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from harness.errors import InputError, MachineError, first_line
from harness.models.adapter import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from harness.models.folders import WEIGHTS_INDEX, check_folder, shards
from harness.models.gguf import is_gguf

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.spec.model import Model

#: What a model folder needs from the hub: weights as safetensors, configuration, tokenizer; no code, no pickle. Shards
#: have the names that the index gives them.
HUB_FILES = (
    "config.json", ADAPTER_CONFIG, "generation_config.json", "model.safetensors", ADAPTER_WEIGHTS, WEIGHTS_INDEX,
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt", "tokenizer.model", "chat_template.jinja", "chat_template.json", "additional_chat_templates/*.jinja",
)  # fmt: skip


class Resolved(NamedTuple):
    """A model folder on this machine and where it came from; of the user's also an adapter's, or a GGUF file."""

    folder: Path
    origin: Literal["hub", "file"]
    revision: str | None
    """The hub's commit (40 hex digits); None for a folder of the user's."""


def resolve(spec: Model, sources: Mapping[str, str]) -> Resolved:
    """Return the local folder of a model, fetching it from the hub where the file gives no folder.

    Args:
        spec: a model without ``config``.
        sources: name or label of a model to the folder where it lies (``-o sources.NAME=PATH``); comes first.

    Raises:
        InputError: the folder is not a model, or the hub has no such model, revision or safetensors weights.
        MachineError: the hub cannot be reached and its cache on this machine lacks the model.
    """
    path = sources.get(spec.name) or (sources.get(spec.label) if spec.label else None) or spec.path
    if path is not None:
        folder = Path(path).expanduser()
        if not is_gguf(folder):
            _check(folder, where=f"model {spec.name} ({path})")
        return Resolved(folder, "file", None)
    folder = _fetch(spec)
    try:
        _check(folder, where=f"model {spec.name} (hub, {folder.name[:12]})")
    except InputError as error:
        if error.hint is None:
            error.hint = (
                "only safetensors are fetched; if the hub has a converted revision name it with `revision:`, "
                "or convert the model yourself and name the folder with `path:`"
            )
        raise
    return Resolved(folder, "hub", folder.name)


def _check(folder: Path, *, where: str) -> None:
    """Raise InputError unless a folder holds a model, or an adapter with its weights as safetensors."""
    if not (folder / ADAPTER_CONFIG).is_file():
        check_folder(folder, where=where)
    elif not (folder / ADAPTER_WEIGHTS).is_file():
        raise InputError("the adapter has no weights in safetensors format", where=where, expected=ADAPTER_WEIGHTS)


def _fetch(spec: Model) -> Path:
    from huggingface_hub import errors, snapshot_download

    where = f"model {spec.name}"
    revision = f" at revision {spec.revision}" if spec.revision else ""
    try:
        folder = Path(snapshot_download(spec.name, revision=spec.revision, allow_patterns=list(HUB_FILES)))
        if (folder / WEIGHTS_INDEX).is_file() and not (folder / "model.safetensors").is_file():
            names = [glob.escape(name) for name in shards(folder, where=where)]
            folder = Path(snapshot_download(spec.name, revision=folder.name, allow_patterns=names))
    except InputError:  # of the index
        raise
    except errors.GatedRepoError:
        raise InputError(
            "the model is gated", where=where, hint="accept its terms on the hub and log in: hf auth login"
        ) from None
    except errors.RevisionNotFoundError:
        raise InputError("the hub's model has no such revision", where=where, got=spec.revision) from None
    except (errors.RepositoryNotFoundError, errors.HFValidationError):
        raise InputError(
            "the hub has no such model, or not for you",
            where=where,
            got=spec.name,
            expected="a hub name such as openai-community/gpt2, or a local folder under `path:`",
        ) from None
    except Exception as error:  # whatever the connection, a proxy or the disk did
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        raise MachineError(
            f"the model{revision} could not be fetched from the hub ({type(cause).__name__}: {first_line(cause)})",
            where=where,
            hint=f"offline, name a local copy: -o sources.{spec.name}=PATH, or `path:` beside `name:` in the file; "
            "or fetch it once with a connection, and the hub's cache serves it from then on",
        ) from error
    return folder
