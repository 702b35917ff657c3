"""Files on disk: finding the one that a path names, unpacking it, and remembering where it came from."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from functools import lru_cache
from typing import TYPE_CHECKING, BinaryIO, Final

from harness.api import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

#: What a name ends with behind its own ending, where the content is compressed.
PACKED: Final = (".gz", ".zst")
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_BLOCK: Final = 1 << 20


def find(source: Path, names: Sequence[str], *, dataset: str) -> Path:
    """Return the file that the user's path names: the file itself, or one of ``names`` (or it packed) in a folder.

    Raises:
        InputError: there is no such file.
    """
    check_exists(source, dataset=dataset)
    if source.is_file():
        return source
    for name in names:
        for path in (source / f"{name}{packed}" for packed in ("", *PACKED)):
            if path.is_file():
                return path
    raise InputError(
        f"this folder has no file of data set {dataset!r}",
        where=str(source),
        got=listing(source),
        expected=" or ".join(f"{name}[.gz]" for name in names),
    )


def check_exists(source: Path, *, dataset: str) -> None:
    """Raise InputError where the user's path is neither a file nor a folder."""
    if not (source.is_file() or source.is_dir()):
        raise InputError(f"no such file or folder for data set {dataset!r}", where=str(source))


def listing(folder: Path) -> str:
    """Return the first names in a folder, for a message."""
    return ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "an empty folder"


def content_sha256(path: Path) -> str:
    """Return the sha256 of a file's content: the same for a file and for it packed.

    Raises:
        InputError: the file cannot be read, or is not whole.
    """
    state = path.stat()
    return _sha256(path, state.st_size, state.st_mtime_ns, state.st_ino)


@lru_cache(maxsize=64)
def _sha256(path: Path, *_state: int) -> str:
    # a plan asks for each use of a file; what prepare copies is hashed anew
    digest = hashlib.sha256()
    for block in _blocks(path):
        digest.update(block)
    return digest.hexdigest()


def unpack(path: Path, target: Path, origin: str | None = None) -> str:
    """Copy a file's content, unpacked, and return its sha256; messages about ``target`` will name ``origin``.

    Raises:
        InputError: the file cannot be read, or is not whole.
    """
    digest = hashlib.sha256()
    with target.open("wb") as out:
        for block in _blocks(path):
            digest.update(block)
            out.write(block)
    note_origin(target, origin or str(path))
    return digest.hexdigest()


def is_packed(path: Path) -> bool:
    """Whether a file is gzip or Zstandard, whatever its name says."""
    with path.open("rb") as stream:
        return stream.read(4).startswith((_GZIP, _ZSTD))


def unpack_beginning(path: Path, target: Path) -> bool:
    """Copy the beginning of a file's content, unpacked, and return whether that is all of it.

    Raises:
        InputError: the file cannot be read, or what is read of it is broken.
    """
    blocks = _blocks(path)
    target.write_bytes(next(blocks, b""))
    note_origin(target, str(path))
    return next(blocks, None) is None


def bare_name(name: str) -> str:
    """Return a name in lower case, without what says that it is compressed."""
    low = name.lower()
    return next((low.removesuffix(packed) for packed in PACKED if low.endswith(packed)), low)


def note_origin(target: Path, origin: str) -> None:
    """Have messages about ``target`` name ``origin``."""
    _note(target).write_text(origin, encoding="utf-8")


def origin(target: Path) -> str:
    """Return what a message should call a file or folder that was copied: where its content came from."""
    note = _note(target)
    return note.read_text(encoding="utf-8") if note.is_file() else target.name


def combined(digests: Mapping[str, str]) -> str:
    """Return one sha256 for several files: that of their digests by name, as JSON."""
    return hashlib.sha256(json.dumps(dict(digests), sort_keys=True).encode()).hexdigest()


def _blocks(path: Path) -> Iterator[bytes]:
    """Yield the content of a plain, gzip or Zstandard file, whatever its name says."""
    try:
        with path.open("rb") as stream:
            magic = stream.read(4)
            stream.seek(0)
            if magic.startswith(_GZIP):
                with gzip.GzipFile(fileobj=stream) as content:
                    while block := content.read(_BLOCK):
                        yield block
            elif magic == _ZSTD:
                yield from _zstd(stream, path)
            else:
                while block := stream.read(_BLOCK):
                    yield block
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"not a whole gzip file: {error}", where=str(path)) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", where=str(path)) from None


def _zstd(stream: BinaryIO, path: Path) -> Iterator[bytes]:
    import pyarrow.lib

    try:
        with pyarrow.lib.CompressedInputStream(stream, "zstd") as content:
            while block := content.read(_BLOCK):
                yield block
    except (OSError, pyarrow.lib.ArrowException) as error:
        raise InputError(f"not a whole Zstandard file: {error}", where=str(path)) from None


def _note(target: Path) -> Path:
    return target.with_name(f"{target.name}.origin")
