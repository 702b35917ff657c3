"""Names made from content: equal settings give equal ids on every machine, and any other setting gives another."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


def canonical(value: Any) -> bytes:
    """Return the one encoding of a JSON value: keys sorted, no spaces, ``1`` and ``1.0`` and ``true`` kept apart.

    Lists and tuples are the same array. Text that is not valid Unicode (a lone surrogate) has an encoding of its own.

    Raises:
        ValueError: for NaN and infinities, which no identity may hold.
        TypeError: for anything that is not a JSON value, a key that is not a text included: ``{1: x}`` would else be
            ``{"1": x}``.
    """
    _refuse_other_keys(value)
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "surrogatepass")


def digest(value: Any) -> str:
    """Return the sha256 of the canonical form, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical(value)).hexdigest()


def file_digest(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def tree_digest(folder: Path, names: Iterable[str] | None = None) -> str:
    """Return one digest of the files below ``folder`` (or of the named ones) and of where they lie in it."""
    chosen = sorted(names) if names is not None else [p.relative_to(folder).as_posix() for p in _files(folder)]
    return digest({name: file_digest(folder / name) for name in chosen})


def rows_digest(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return one digest of a sequence of JSON rows, in their order."""
    state = hashlib.sha256()
    for row in rows:
        state.update(canonical(row))
        state.update(b"\n")
    return state.hexdigest()


def _refuse_other_keys(value: Any) -> None:
    if isinstance(value, dict):
        for key, part in value.items():
            if not isinstance(key, str):
                raise TypeError(f"a key of a JSON object is text, not {key!r}")
            _refuse_other_keys(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            _refuse_other_keys(part)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
