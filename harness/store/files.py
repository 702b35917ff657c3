"""Writing that survives a crash: every file synced, every rename atomic, every failure one clear message."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from typing import TYPE_CHECKING, Any

from harness.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path


@contextlib.contextmanager
def machine_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses (disk full, no permission, I/O error) into one message naming the path."""
    try:
        yield
    except OSError as error:
        place = error.filename or path
        raise StorageError(
            f"cannot write: {error.strerror or error}",
            where=str(place),
            hint="results made so far are intact; free space or permission, or another --results DIR, and run again",
        ) from error


def dump(value: Any) -> str:
    """Return JSON for people and programs alike; NaN is refused, because readers would turn it into something else."""
    return json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write one JSON value."""
    write_text(path, dump(value))


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write one JSON object a line; return how many."""
    count = 0
    with machine_errors(path), path.open("w", encoding="utf-8") as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
            count += 1
    return count


def write_text(path: Path, text: str) -> None:
    """Write a text file."""
    with machine_errors(path):
        path.write_text(text, encoding="utf-8")


def replace_text(path: Path, text: str) -> None:
    """Replace a file as a whole: readers see the old text or the new one, also after a power loss."""
    with machine_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            temporary.write_text(text, encoding="utf-8")
            sync(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync(path.parent)


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Read one JSON object a line."""
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            yield json.loads(line)


def sync(path: Path) -> None:
    """Force a file or a folder's entries to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
