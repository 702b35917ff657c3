"""Where a model's tokenizer lies, without its weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness.errors import InputError, MachineError, first_line
from harness.models.adapter import ADAPTER_CONFIG, adapter_base, adapter_tokenizer
from harness.models.gguf import is_gguf, write_tokenizer

if TYPE_CHECKING:
    from harness.spec.model import Model

#: What of a model on the hub its tokenizer is read from.
FILES: Final = (
    "config.json", ADAPTER_CONFIG, "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "merges.txt", "tokenizer.model", "chat_template.jinja",
)  # fmt: skip


def tokenizer_folder(spec: Model, made: Path) -> Path:
    """Return a folder with the tokenizer of a model that exists: an adapter's own, or else that of its base.

    Of a model on the hub these files alone are fetched; that of a GGUF file is written into the folder ``made``.

    Raises:
        InputError: the hub has no such model or revision, a GGUF file cannot be read, or the base of an adapter is not
            known.
        MachineError: the hub cannot be reached, and its cache on this machine lacks the files.
    """
    place = _fetch(spec) if spec.path is None else Path(spec.path).expanduser()
    where = f"model {spec.name} ({place})"
    if is_gguf(place):
        write_tokenizer(place, made, where=where)
        return made
    if not (place / ADAPTER_CONFIG).is_file():
        return place
    return adapter_tokenizer(place) or tokenizer_folder(adapter_base(place, spec.base, where=where), made)


def _fetch(spec: Model) -> Path:
    from huggingface_hub import errors, snapshot_download

    where = f"model {spec.name}"
    try:
        return Path(snapshot_download(spec.name, revision=spec.revision, allow_patterns=list(FILES)))
    except errors.GatedRepoError:
        raise InputError("the model is gated", where=where, hint="accept its terms and log in: hf auth login") from None
    except errors.RevisionNotFoundError:
        raise InputError("the hub's model has no such revision", where=where, got=spec.revision) from None
    except (errors.RepositoryNotFoundError, errors.HFValidationError):
        raise InputError("the hub has no such model, or not for you", where=where, got=spec.name) from None
    except Exception as error:  # whatever the connection, a proxy or the disk did
        raise MachineError(
            f"the tokenizer could not be fetched from the hub ({type(error).__name__}: {first_line(error)})",
            where=where,
            hint=f"offline, name a local copy of the model: -o sources.{spec.name}=PATH",
        ) from error
