"""The manifest of one stage: what is in its folder, and whether the folder still is what it says."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

from harness.errors import MachineError, StageError
from harness.store.files import is_whole, parse

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.store.damage import What

MANIFEST = "manifest.json"

#: Version of the layout; a store of another version is refused, never guessed at.
FORMAT = 3

_DIGITS = 64


class Unreadable(Exception):
    """A manifest that cannot be what was written, with the reason."""


class OtherFormat(StageError):
    """A stage that another release of the harness has written."""


def read_manifest(folder: Path, kind: str, stage_id: str) -> dict[str, Any]:
    """Return the manifest of the stage in ``folder``.

    Raises:
        Unreadable: it is missing, damaged or another stage's.
        OtherFormat: a manifest of another format.
        MachineError: the operating system does not let it be read.
    """
    try:
        manifest = parse((folder / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise Unreadable("is not there") from None
    except IsADirectoryError:
        raise Unreadable("is a folder") from None
    except ValueError:
        raise Unreadable("is not JSON") from None
    except OSError as error:
        raise cannot_read(folder, error) from error
    if not isinstance(manifest, dict):
        raise Unreadable("is not a JSON object")
    if manifest.get("format") != FORMAT and ("sha256" not in manifest or is_whole(manifest)):
        raise OtherFormat(
            "this stage was written in another format",
            where=str(folder),
            got=manifest.get("format"),
            expected=f"format {FORMAT}",
            hint="use another --results DIR, or the release of the harness that wrote it",
        )
    if not is_whole(manifest):
        raise Unreadable("is not what was written (its sha256 differs)")
    if manifest.get("kind") != kind or manifest.get("id") != stage_id:
        raise Unreadable("is that of another stage")
    if not _well_formed(manifest):
        raise Unreadable("lacks what a manifest says")
    return manifest


def cannot_read(folder: Path, error: OSError) -> MachineError:
    """Return the message for what the operating system refused to read."""
    return MachineError(f"cannot read: {error.strerror or error}", where=str(error.filename or folder))


def files(manifest: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return sha256 and size of every file that is there, by its name below the stage's folder."""
    gone = manifest.get("pruned", ())
    return {name: entry for name, entry in manifest["files"].items() if name not in gone}


def wrong_size(folder: Path, name: str, manifest: Mapping[str, Any]) -> tuple[What, str] | None:
    """Return what is wrong with a file that is not there with its size; the content is checked when it is read."""
    expected = manifest["files"][name]["size"]
    try:
        status = os.stat(f"{folder}/{name}")  # noqa: PTH116  # a report asks for thousands
    except (FileNotFoundError, NotADirectoryError):
        return "missing", "is not there"
    except OSError as error:
        raise cannot_read(folder, error) from error
    if not stat.S_ISREG(status.st_mode):
        return "missing", "is not a file"
    return None if status.st_size == expected else ("size", f"has {status.st_size:,} bytes; written were {expected:,}")


def is_draft(name: str) -> bool:
    """Return whether a file is what a process that was killed has left of replacing a manifest."""
    return name.startswith(f".{MANIFEST}.")


def _well_formed(manifest: Mapping[str, Any]) -> bool:
    named, listed = manifest.get("label"), manifest.get("files")
    if not isinstance(named, str) or not isinstance(listed, dict) or "config.json" not in listed:
        return False
    for part in ("measured", "pruned"):
        names = manifest.get(part, [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            return False
    return all(
        isinstance(entry, dict)
        and isinstance(entry.get("size"), int)
        and isinstance(entry.get("sha256"), str)
        and len(entry["sha256"]) == _DIGITS
        for entry in listed.values()
    )
