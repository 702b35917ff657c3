"""Folders that ``Dataset.save_to_disk`` and ``DatasetDict.save_to_disk`` of Hugging Face's ``datasets`` write."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, Final

from harness.api import InputError
from harness_plugins.upstream.local import combined, content_sha256, listing, note_origin, origin, unpack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_STATE: Final = "state.json"
_INFO: Final = "dataset_info.json"
_SPLITS: Final = "dataset_dict.json"
#: Splits and files of a saved folder are names within it, so that none leads elsewhere.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_BATCH: Final = 1000


def is_saved(folder: Path) -> bool:
    """Whether a folder holds one data set as ``Dataset.save_to_disk`` writes it."""
    return (folder / _STATE).is_file()


def saved_splits(folder: Path) -> dict[str, Path] | None:
    """Return the folder of each split of a saved ``DatasetDict``; None where the folder is none.

    Raises:
        InputError: its list of splits cannot be read, or names one that is not there.
    """
    path = folder / _SPLITS
    if not path.is_file():
        return None
    names = _json(path).get("splits")
    if not isinstance(names, list) or not names or not all(_is_name(name) for name in names):
        raise InputError("this saved DatasetDict does not list its splits", where=str(path), got=names,
                         expected='{"splits": [NAME, …]}')  # fmt: skip
    for name in names:
        if not is_saved(folder / name):
            raise InputError(f"the split {name!r} of this saved DatasetDict is missing or incomplete",
                             where=str(folder), got=listing(folder), expected=f"{name}/{_STATE}")  # fmt: skip
    return {name: folder / name for name in names}


def saved_sha256(folder: Path) -> str:
    """Return one sha256 for a saved data set: that of its Arrow files, in their order, and of its features.

    Raises:
        InputError: a file is missing or cannot be read.
    """
    return _digest(folder, [content_sha256(path) for path in _data_files(folder)])


def copy_saved(source: Path, target: Path) -> str:
    """Copy a saved data set and return its :func:`saved_sha256`; messages about ``target`` will name ``source``.

    Raises:
        InputError: a file is missing or cannot be read.
    """
    target.mkdir()
    note_origin(target, str(source))
    for name in (_STATE, _INFO):
        if not (source / name).is_file():
            raise InputError("this saved data set is incomplete", where=str(source), got=listing(source), expected=name)
        unpack(source / name, target / name)
    return _digest(source, [unpack(path, target / path.name) for path in _data_files(source)])


def saved_rows(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a saved data set as Python values, whatever format it was saved with.

    What is stored as the bytes of an image, a sound or a video stays bytes: nothing is decoded.

    Raises:
        InputError: it cannot be read.
    """
    if not _data_files(folder):  # which `datasets` writes for no rows, and cannot read
        return
    import datasets

    name = called(folder)
    try:
        table = datasets.load_from_disk(str(folder)).with_format(None)
        for column, feature in table.features.items():
            if isinstance(feature, (datasets.Audio, datasets.Image, datasets.Video)):
                table = table.cast_column(column, type(feature)(decode=False))
        for batch in table.iter(_BATCH):
            columns = list(batch)
            for values in zip(*batch.values(), strict=True):
                yield dict(zip(columns, values, strict=True))
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever `datasets` and Arrow say of a broken folder
        raise InputError(f"this saved data set cannot be read: {type(error).__name__}: {error}", where=name) from None


def called(folder: Path) -> str:
    """Return what a message should call a saved data set: the folder that it was copied from, or its own."""
    name = origin(folder)
    return str(folder) if name == folder.name else name


def _data_files(folder: Path) -> list[Path]:
    files = _json(folder / _STATE).get("_data_files")
    listed = files if isinstance(files, list) else []
    names = [entry.get("filename") if isinstance(entry, dict) else None for entry in listed]
    if files is not listed or not all(_is_name(name) for name in names):
        raise InputError("this is not the state of a saved data set", where=f"{called(folder)}/{_STATE}", got=files,
                         expected="_data_files, as Dataset.save_to_disk writes them")  # fmt: skip
    paths = [folder / str(name) for name in names]
    for path in paths:
        if not path.is_file():
            raise InputError("this saved data set is incomplete", where=called(folder), got=listing(folder),
                             expected=path.name)  # fmt: skip
    return paths


def _is_name(value: object) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _digest(folder: Path, files: list[str]) -> str:
    # an Arrow file holds storage types alone: that a column is JSON text to be read, say, only the features tell
    features = json.dumps(_json(folder / _INFO).get("features"), sort_keys=True)
    parts = {f"{place:05}": digest for place, digest in enumerate(files)}
    return combined({**parts, "features": hashlib.sha256(features.encode()).hexdigest()})


def _json(path: Path) -> dict[str, Any]:
    where = f"{called(path.parent)}/{path.name}"
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise InputError("this saved data set is incomplete", where=where, expected=path.name) from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read: {error}", where=where) from None
    if not isinstance(value, dict):
        raise InputError("not a JSON object", where=where, got=type(value).__name__)
    return value
