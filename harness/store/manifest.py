"""The manifest of one stage: what is in its folder, and whether the folder still is what it says."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from harness.errors import MachineError, StageError
from harness.store.files import parse

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MANIFEST = "manifest.json"

#: Version of the layout; a store of another version is refused, never guessed at.
FORMAT = 1

_DIGITS = 64


def read_manifest(folder: Path, kind: str, stage_id: str) -> dict[str, Any] | None:
    """Return the manifest of the stage in ``folder``, or None where it is missing, damaged or another stage's.

    Raises:
        StageError: a manifest of another format.
        MachineError: the operating system does not let it be read.
    """
    try:
        manifest = parse((folder / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except OSError as error:
        raise cannot_read(folder, error) from error
    if not isinstance(manifest, dict) or manifest.get("kind") != kind or manifest.get("id") != stage_id:
        return None
    if manifest.get("format") != FORMAT:
        raise StageError(
            "this stage was written in another format",
            where=str(folder),
            got=manifest.get("format"),
            expected=f"format {FORMAT}",
            hint="use another --results DIR, or the release of the harness that wrote it",
        )
    return manifest if _well_formed(manifest) else None


def cannot_read(folder: Path, error: OSError) -> MachineError:
    """Return the message for what the operating system refused to read."""
    return MachineError(f"cannot read: {error.strerror or error}", where=str(error.filename or folder))


def files(manifest: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return sha256 and size of every file that is there, by its name below the stage's folder."""
    gone = manifest.get("let_go", ())
    return {name: entry for name, entry in manifest["files"].items() if name not in gone}


def sizes_agree(folder: Path, manifest: Mapping[str, Any]) -> bool:
    """Return whether every file is there with its size; the content is checked when it is read."""
    for name, entry in files(manifest).items():
        try:
            if os.stat(f"{folder}/{name}").st_size != entry["size"]:  # noqa: PTH116  # a report asks for thousands
                return False
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise cannot_read(folder, error) from error
    return True


def _well_formed(manifest: Mapping[str, Any]) -> bool:
    named, listed = manifest.get("label"), manifest.get("files")
    if not isinstance(named, str) or not isinstance(listed, dict) or "config.json" not in listed:
        return False
    for part in ("measured", "let_go"):
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
