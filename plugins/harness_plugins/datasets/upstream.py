"""Fetching the files of a data set: from a path of the user's, plain or gzip, or from the hub.

Whatever the way, a prepared folder holds the same plain files, so that the way changes no result.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from harness.api import InputError, MachineError, Provenance

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import IO

_BLOCK = 1 << 20


@dataclass(frozen=True)
class HubFile:
    """A file of a data set on the hub."""

    repository: str
    name: str
    sha256: str | None = None
    """Of the content, where the commit is not known; then it is what the download is checked against."""


def open_binary(path: Path) -> IO[bytes]:
    """Open a plain or gzip file for reading its content, whatever its name says."""
    with path.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if packed else path.open("rb")  # type: ignore[return-value]  # a GzipFile reads alike


def content_sha256(path: Path) -> str:
    """Return the sha256 of a file's content: the same for a file and for its gzip.

    Raises:
        InputError: the file cannot be read, or its gzip is broken.
    """
    state = hashlib.sha256()
    try:
        with open_binary(path) as stream:
            while block := stream.read(_BLOCK):
                state.update(block)
    except (OSError, EOFError) as error:
        raise InputError(f"cannot be read: {error}", where=str(path)) from None
    return state.hexdigest()


def find(source: Path, names: Sequence[str], *, dataset: str) -> Path:
    """Return the file that the user's path names: the file itself, or one of ``names`` (or its gzip) in a folder.

    Raises:
        InputError: there is no such file.
    """
    if source.is_file():
        return source
    if not source.exists():
        raise InputError(f"no such file or folder for data set {dataset!r}", where=str(source))
    for name in names:
        for path in (source / name, source / f"{name}.gz"):
            if path.is_file():
                return path
    present = sorted(path.name for path in source.iterdir())[:8]
    raise InputError(
        f"this folder has no file of data set {dataset!r}",
        where=str(source),
        got=", ".join(present) or "an empty folder",
        expected=" or ".join(f"{name}[.gz]" for name in names),
    )


def unpack(path: Path, target: Path) -> str:
    """Copy a file's content, unpacked, and return its sha256."""
    digest = content_sha256(path)
    with open_binary(path) as stream, target.open("wb") as out:
        shutil.copyfileobj(stream, out, _BLOCK)
    return digest


def hub_identity(file: HubFile, revision: str | None) -> dict[str, Any]:
    """Return what fixes the content of a file on the hub: a revision that was asked for, or the known sha256."""
    identity = {"repository": file.repository, "file": file.name, "revision": revision}
    if revision is None and file.sha256 is not None:
        return {"sha256": file.sha256}
    return identity


def fetch(file: HubFile, revision: str | None, target: Path, *, dataset: str) -> Provenance:
    """Download one file from the hub and check it.

    Raises:
        InputError: no such repository, file or revision, or content that is not what is known of it.
        MachineError: the hub cannot be reached.
    """
    from huggingface_hub import errors, hf_hub_download

    where = f"data set {dataset!r}, hub {file.repository}"
    alternative = f"without the hub: -o sources.{dataset}=PATH, or `path:` in the file, with the upstream's own file"
    try:
        found = Path(hf_hub_download(file.repository, file.name, repo_type="dataset", revision=revision))
    except errors.GatedRepoError:
        raise InputError("the data set is gated; accept its terms and log in", where=where, hint=alternative) from None
    except errors.RevisionNotFoundError:
        raise InputError("the hub has no such revision", where=where, got=revision, hint=alternative) from None
    except errors.RepositoryNotFoundError:
        raise InputError("the hub has no such data set, or it is private", where=where, hint=alternative) from None
    except errors.EntryNotFoundError as error:
        if isinstance(error, errors.LocalEntryNotFoundError):
            _unreachable(where, alternative, error)
        raise InputError("the data set has no such file", where=where, got=file.name, hint=alternative) from None
    except (errors.HfHubHTTPError, OSError, ValueError) as error:
        _unreachable(where, alternative, error)
    digest = unpack(found, target)
    if revision is None and file.sha256 is not None and digest != file.sha256:
        raise InputError(
            "the downloaded file is not the one that is known",
            where=f"{where}, {file.name}",
            got=f"sha256 {digest}",
            expected=f"sha256 {file.sha256}",
            hint="name a `revision:` to take what the hub has there",
        )
    commit = found.parent.name if len(found.parent.name) == 40 else None
    return Provenance(origin=file.repository, revision=commit, sha256=digest)


def _unreachable(where: str, alternative: str, error: Exception) -> NoReturn:
    lines = str(error).strip().splitlines()
    offline = os.environ.get("HF_HUB_OFFLINE", "0") not in {"", "0"}
    reason = "HF_HUB_OFFLINE is set and the file is not in the hub's cache" if offline else (lines or ["no answer"])[0]
    raise MachineError(f"the hub cannot be reached: {reason}", where=where, hint=alternative) from None


def read_lines(path: Path, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read JSON Lines and number the lines from 1; blank lines are passed over.

    Raises:
        InputError: a line that is no JSON object, or no UTF-8, with its number.
    """
    with path.open("rb") as stream:
        for number, raw in enumerate(stream, start=1):
            if not raw.strip():
                continue
            try:
                row = json.loads(raw.decode("utf-8-sig" if number == 1 else "utf-8"))
            except UnicodeDecodeError as error:
                raise InputError("not UTF-8", where=f"{name}:{number}", got=repr(raw[error.start :][:8])) from None
            except ValueError as error:
                raise InputError(f"broken JSON: {error}", where=f"{name}:{number}") from None
            if not isinstance(row, dict):
                raise InputError("not a JSON object", where=f"{name}:{number}", got=type(row).__name__)
            yield number, row


def text(row: Mapping[str, Any], field: str, where: str, *, empty: bool = False) -> str:
    """Return a field that must be a string, and unless ``empty`` more than white space.

    Raises:
        InputError: the field is missing, no string, or blank.
    """
    if field not in row:
        raise InputError(f"the field {field!r} is missing", where=where, got=", ".join(sorted(row)) or "no field")
    value = row[field]
    if not isinstance(value, str):
        raise InputError(f"the field {field!r} is no text", where=where, got=type(value).__name__)
    if not empty and not value.strip():
        raise InputError(f"the field {field!r} is blank", where=where)
    return value


def fold(value: str) -> str:
    """Return a text with its case and white space folded: what counts as the same instruction."""
    return " ".join(value.split()).casefold()
