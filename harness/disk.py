"""Every change below a results folder is made here: folders, files, names, and what is forced to the disk.

So there is one place that can be watched: a test records the changes of a run, or lets one of them fail; see
:func:`watched`. What another library writes by itself stands in a block of :func:`by_library`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

Result = TypeVar("Result")

#: The name of a file that is to take another's place.
_UNFINISHED = re.compile(r"\..+\.[0-9a-f]{32}")


class Change(NamedTuple):
    """One change of the file system."""

    kind: Literal["folder", "open", "write", "rename", "link", "remove", "remove folder", "sync"]
    """``open`` makes an empty file where there is none; ``write`` replaces the content of a file, or makes it."""
    path: str
    source: str = ""
    """What is renamed or linked to ``path``."""


class Watcher(Protocol):
    """Who is told of changes."""

    def change(self, change: Change, act: Callable[[], Result]) -> Result:
        """Make a change by calling ``act``, or let it fail by raising what the system would."""

    def library(self, folder: Path) -> AbstractContextManager[None]:
        """Return the context in which another library writes below ``folder``."""


_watcher: Watcher | None = None


@contextlib.contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Tell ``watcher`` of all changes that this process makes in the block."""
    global _watcher  # noqa: PLW0603  # who writes need not know who watches
    before, _watcher = _watcher, watcher
    try:
        yield
    finally:
        _watcher = before


def _make(change: Change, act: Callable[[], Result]) -> Result:
    return act() if _watcher is None else _watcher.change(change, act)


def by_library(folder: Path) -> AbstractContextManager[None]:
    """Return the context in which another library writes below ``folder``."""
    return contextlib.nullcontext() if _watcher is None else _watcher.library(folder)


def make_folder(path: Path) -> None:
    """Make one folder, which must not be there."""
    _make(Change("folder", str(path)), path.mkdir)


def make_folders(path: Path) -> None:
    """Make a folder and those above it, where they are not there, and force their names to the disk."""
    if path.is_dir():
        return
    if path.parent != path:
        make_folders(path.parent)
    try:
        make_folder(path)
    except FileExistsError:
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from None
        return  # another process has just made it
    with contextlib.suppress(PermissionError):  # one may write to it and not read it
        sync(path.parent)


def open_file(path: Path) -> int:
    """Open a file to read and write, an empty one (and its folder) where there is none; return its descriptor."""
    make_folders(path.parent)
    return _make(Change("open", str(path)), lambda: os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666))


def write(path: Path, *content: bytes) -> None:
    """Write a file, in several pieces where they are given."""
    write_pieces(path, content)


def write_pieces(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file piece by piece."""

    def act() -> None:
        with path.open("wb") as stream:
            stream.writelines(pieces)

    _make(Change("write", str(path)), act)


def write_open(descriptor: int, path: Path, content: bytes) -> None:
    """Write to a file that :func:`open_file` has opened as ``path``, from its beginning."""

    def act() -> None:
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        with open(descriptor, "wb", closefd=False) as stream:  # it is open already
            stream.write(content)

    _make(Change("write", str(path)), act)


def rename(source: Path, target: Path) -> None:
    """Give a file or a folder another name; a file there, or an empty folder, is replaced."""
    _make(Change("rename", str(target), str(source)), lambda: source.replace(target))


def link(source: Path, target: Path) -> None:
    """Give a file a further name."""
    _make(Change("link", str(target), str(source)), lambda: target.hardlink_to(source))


def remove_file(path: Path, *, missing_ok: bool = False) -> None:
    """Remove a file."""
    with contextlib.suppress(*[FileNotFoundError] if missing_ok else []):
        _make(Change("remove", str(path)), path.unlink)


def remove_folder(path: Path) -> None:
    """Remove an empty folder."""
    _make(Change("remove folder", str(path)), path.rmdir)


def remove_tree(path: Path) -> None:
    """Remove a folder with all below it, as far as that is possible: what is left is in nobody's way."""
    if path.is_symlink():
        return
    for place, folders, files in os.walk(path, topdown=False):
        for name in (*folders, *files):
            below = Path(place, name)
            with contextlib.suppress(OSError):
                if name in folders and not below.is_symlink():
                    remove_folder(below)
                else:
                    remove_file(below)
    with contextlib.suppress(OSError):
        if path.is_dir():
            remove_folder(path)


def sync(path: Path) -> None:
    """Force a file, or the names in a folder, to the disk."""

    def act() -> None:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    _make(Change("sync", str(path)), act)


def sync_tree(folder: Path) -> None:
    """Force all below a folder, and then the folder, to the disk."""
    for path in sorted(folder.rglob("*"), reverse=True):  # what is in a folder, then the folder
        sync(path)
    sync(folder)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file as a whole: also after a power failure there is the old one, the new one or none.

    It is written under another name, whose lock says until then that its writer lives; see :func:`clear_unfinished`.
    """
    make_folders(path.parent)
    clear_unfinished(path.parent, path.name)
    os.close(_replace(path, content, synced=True))
    sync(path.parent)


def lock_file(path: Path, content: bytes) -> int:
    """Write a file as :func:`replace_file` does, but for the disk; return its descriptor, which holds its lock.

    Where the file system has no locks, it is there without.
    """
    make_folders(path.parent)
    return _replace(path, content, synced=False)


def clear_unfinished(folder: Path, name: str = "") -> None:
    """Remove what processes that have ended have left of files, or of one, that they were about to put there."""
    with contextlib.suppress(OSError):  # it is in nobody's way
        for entry in os.scandir(folder):
            if entry.name.startswith(f".{name}") and _UNFINISHED.fullmatch(entry.name):
                _remove_abandoned(Path(entry.path))


def _remove_abandoned(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove_file(path)
    except OSError:  # its writer lives, or nobody can know
        pass
    finally:
        os.close(descriptor)


def _replace(path: Path, content: bytes, *, synced: bool) -> int:
    """Write a file under another name, rename it, and return its descriptor, which is locked."""
    temporary, descriptor = _locked(path)
    try:
        write_open(descriptor, temporary, content)
        if synced:
            sync(temporary)
        rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            remove_file(temporary)
        os.close(descriptor)
        raise
    return descriptor


def _locked(path: Path) -> tuple[Path, int]:
    """Return a name under which a file may be written, and its open file, which is locked where that is possible."""
    while True:
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        descriptor = open_file(temporary)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another process takes it for one that was left behind
            os.close(descriptor)
            continue
        except OSError:
            pass  # a file system without locks
        if temporary.exists():
            return temporary, descriptor
        os.close(descriptor)  # it did so in the moment before the lock
