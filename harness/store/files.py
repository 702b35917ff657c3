"""Writing that survives a crash: every file synced, every rename atomic, every failure one clear message."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from harness import disk
from harness.errors import StorageError
from harness.store.identity import digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path


#: What the system says where nothing may be written.
_FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM}


#: What the system says when a disk, a quota or a limit on the size of files is exhausted.
_EXHAUSTED = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

#: How libraries that write by themselves pass its words on: ``I/O error: File too large (os error 27)``.
_PASSED_ON = re.compile(r"\(os error (\d+)\)")


@contextlib.contextmanager
def machine_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses (disk full, no permission, I/O error) into one message naming the path."""
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> StorageError:
    """Return the message for what the operating system refused to write."""
    remedy = "a larger limit on the size of files (ulimit -f)" if error.errno == errno.EFBIG else "space or permission"
    said = StorageError(
        f"cannot write: {error.strerror or error}",
        where=str(error.filename or path),
        hint=f"results made so far are intact; it needs {remedy}, or another --results DIR: then run again",
    )
    said.read_only = error.errno in _FORBIDDEN
    return said


def exhausted(error: Exception) -> int | None:
    """Return the system's number for what is exhausted, if that is what an error is about."""
    if isinstance(error, OSError):
        return error.errno if error.errno in _EXHAUSTED else None
    passed_on = _PASSED_ON.search(str(error))  # safetensors and tokenizers raise errors of their own
    if passed_on is not None:
        return int(passed_on[1]) if int(passed_on[1]) in _EXHAUSTED else None
    return next((number for number in sorted(_EXHAUSTED) if os.strerror(number) in str(error)), None)


def dump(value: Any) -> str:
    """Return JSON for people and programs alike; NaN is refused, because readers would turn it into something else."""
    return _json(value, indent=1) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write one JSON value."""
    write_text(path, dump(value))


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write one JSON object a line; return how many."""
    count = 0

    def lines() -> Iterator[bytes]:
        nonlocal count
        for row in rows:
            yield f"{_json(row)}\n".encode()
            count += 1

    with machine_errors(path):
        disk.write_pieces(path, lines())
    return count


def write_text(path: Path, text: str) -> None:
    """Write a text file."""
    with machine_errors(path):
        disk.write(path, text.encode("utf-8"))


def replace_text(path: Path, text: str) -> None:
    """Replace a file as a whole: readers see the old text or the new one, also after a power loss."""
    replace_bytes(path, text.encode("utf-8"))


def replace_bytes(path: Path, content: bytes) -> None:
    """Replace a file that is no text as :func:`replace_text` does one that is."""
    with machine_errors(path):
        disk.replace_file(path, content)


def parse(text: bytes) -> Any:
    """Return the value of JSON in UTF-8."""
    try:
        return from_json(text)  # several times as fast as the standard library's
    except ValueError:  # it refuses a lone surrogate, which :func:`_json` writes as an escape
        return json.loads(text.decode("utf-8"))


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Read one JSON object a line; only a line feed ends a line, whatever Unicode says of other characters."""
    with path.open("rb") as stream:
        for line in stream:
            yield parse(line)


def seal(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object with the digest of its own content, by which a later reader knows that it is whole."""
    content = {name: part for name, part in value.items() if name != "sha256"}
    return {**content, "sha256": digest(content)}


def is_whole(value: Any) -> bool:
    """Return whether a JSON value is what :func:`seal` returned."""
    return isinstance(value, dict) and value.get("sha256") == seal(value)["sha256"]


def _json(value: Any, *, indent: int | None = None) -> str:
    """Return JSON text that any UTF-8 file can hold: a lone surrogate, which none can, becomes an escape."""
    text = json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent, allow_nan=False)
    return text
