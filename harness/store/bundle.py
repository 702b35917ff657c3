"""Zip files of results: packed to the same bytes each time, and unpacked without trusting them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness.errors import InputError
from harness.store.files import machine_errors

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What a bundle's name ends with.
SUFFIX: Final = ".zip"
#: A bundle that unpacks to more than this is refused: records are text, and a run's are a few hundred megabytes.
MOST_BYTES: Final = 4 << 30
MOST_FILES: Final = 200_000
#: No file of text shrinks to less than this share; it takes some size to look at that.
_RATIO, _SMALL = 1000, 1 << 20
#: Letters of what the zip library says that a message repeats.
_QUOTED: Final = 200
_BLOCK: Final = 1 << 20
#: The earliest time that a zip file can hold.
_TIME: Final = (1980, 1, 1, 0, 0, 0)

_PART: Final = r"(?!\.\.?(?:/|$))[^/\\\x00-\x1f:*?\"<>|]+"
_NAME: Final = re.compile(rf"{_PART}(?:/{_PART}){{2,5}}")


def pack(folder: Path, target: Path) -> int:
    """Write all files below a folder into a zip file, the same bytes for the same files; return how many there were."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    with machine_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
                for name in names:
                    entry = zipfile.ZipInfo(name, _TIME)
                    entry.compress_type, entry.create_system = zipfile.ZIP_DEFLATED, 3
                    entry.external_attr = (stat.S_IFREG | 0o644) << 16
                    with (folder / name).open("rb") as source, archive.open(entry, "w", force_zip64=True) as into:
                        shutil.copyfileobj(source, into, _BLOCK)
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
    return len(names)


@contextlib.contextmanager
def unpacked(bundle: Path, *, most_bytes: int = MOST_BYTES, most_files: int = MOST_FILES) -> Iterator[Path]:
    """Unpack a bundle into a folder that is removed afterwards.

    Raises:
        InputError: it is no zip file, is damaged, or holds what a bundle never does: a name that leads elsewhere, a
            link, a name twice, or more than ``most_bytes`` or ``most_files``.
    """
    with tempfile.TemporaryDirectory(prefix="harness-bundle-") as folder:
        try:
            with zipfile.ZipFile(bundle) as archive:
                _unpack(archive, Path(folder), bundle, most_bytes, most_files)
        except FileNotFoundError:
            raise InputError("there is no such file", where=str(bundle)) from None
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeError) as error:
            told = str(error)[:_QUOTED]  # zipfile quotes names as long as a damaged length says
            raise InputError(f"is not a whole zip file: {told}", where=str(bundle)) from None
        yield Path(folder)


def _unpack(archive: zipfile.ZipFile, folder: Path, bundle: Path, most_bytes: int, most_files: int) -> None:
    # not is_dir(), which fails in Python 3.11 where a name is empty
    entries = [entry for entry in archive.infolist() if not entry.filename.endswith("/")]
    if len(entries) > most_files:
        raise InputError("holds too many files", where=str(bundle), got=len(entries), expected=f"{most_files} at most")
    left, seen = most_bytes, set[str]()
    for entry in entries:
        _refuse(entry, bundle, seen)
        seen.add(entry.filename.casefold())
        left = _copy(archive, entry, folder / entry.filename, left, bundle, most_bytes)


def _refuse(entry: zipfile.ZipInfo, bundle: Path, seen: set[str]) -> None:
    """Refuse an entry that no bundle has."""
    name = entry.filename
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if not _NAME.fullmatch(name):
        what = "has a file where a bundle has none"
    elif kind not in {0, stat.S_IFREG}:
        what = "has a link, or another thing that is no file"
    elif entry.flag_bits & 1:
        what = "has an encrypted file"
    elif name.casefold() in seen:
        what = "has a file twice"
    elif entry.file_size > _SMALL and entry.file_size > _RATIO * max(entry.compress_size, 1):
        what = "has a file that unpacks to far more than text does"
    else:
        return
    raise InputError(what, where=str(bundle), got=name, hint="harness bundle writes what can be read here")


def _copy(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, left: int, bundle: Path, most_bytes: int
) -> int:
    """Unpack one file, counting what really comes out of it; return how many bytes may still come."""
    with machine_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(entry) as source, target.open("xb") as into:
            while block := source.read(_BLOCK):
                left -= len(block)
                if left < 0:
                    raise InputError("unpacks to too much", where=str(bundle), expected=f"{most_bytes:,} bytes at most")
                into.write(block)
    return left
