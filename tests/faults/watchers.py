"""Who is told of the changes of a results folder, and writes them down or lets one of them fail."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from faults.disks import Made

from harness.disk import Change

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Literal

    Kind = Literal["folder", "write", "remove", "remove folder"]

Result = TypeVar("Result")

#: Of each path below a folder what shows that it was written; None for folders.
_Seen: TypeAlias = "dict[Path, tuple[int, int, int] | None]"

#: What Python says of itself when it changes a file system.
CHANGING = frozenset(
    {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.mkfifo"}
)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

#: The changes that a full disk refuses.
NEED_SPACE = frozenset({"folder", "open", "write", "link"})


class Recorder:
    """Writes down what is changed below a root.

    What a library has written is known at the end of its block: a change a folder and a file, in the order of names.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.made: list[Made] = []
        self.inside = 0
        """How many changes or blocks are being made at this moment."""

    def before(self, change: Change) -> None:
        """Do something before a change is made, or let it fail by raising."""

    def change(self, change: Change, act: Callable[[], Result]) -> Result:
        """Make a change and write it down."""
        if not Path(change.path).is_relative_to(self.root):
            return act()
        new = change.kind != "open" or not Path(change.path).exists()
        if new:
            self.before(change)
        self.inside += 1
        try:
            result = act()
        finally:
            self.inside -= 1
        if new:
            self.note(change)
        return result

    def note(self, change: Change) -> None:
        """Write a change down that was made."""
        content = Path(change.path).read_bytes() if change.kind == "write" else b""
        source = self._below(change.source) if change.source else ""
        self.made.append(Made(change.kind, self._below(change.path), source, content))

    @contextlib.contextmanager
    def library(self, folder: Path) -> Iterator[None]:
        """Find out what was written below a folder."""
        before = seen(folder)
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1
        if folder.is_relative_to(self.root):
            self.written([Change(kind, str(path)) for kind, path in difference(before, seen(folder))])

    def written(self, changes: list[Change]) -> None:
        """Take what a library has written."""
        for change in changes:
            self.note(change)

    def _below(self, path: str) -> str:
        return Path(path).relative_to(self.root).as_posix()


class Outside:
    """Notes what this process changes below a recorder's root past the recorder, from now on."""

    def __init__(self, recorder: Recorder) -> None:
        self.seen: list[str] = []
        self._recorder = recorder
        sys.addaudithook(self._heard)  # it stays: for a process of its own

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._recorder.inside or event not in CHANGING or (event == "open" and not arguments[2] & _WRITING):
            return
        paths = [os.fsdecode(path) for path in arguments[:2] if isinstance(path, (str, bytes, os.PathLike))]
        if any(path.startswith(f"{self._recorder.root}/") for path in paths):
            self.seen.append(f"{event} {' '.join(paths)}")


class Refusing(Recorder):
    """Lets the system refuse each change from the ``number``-th on that ``kinds`` name, ``times`` times."""

    def __init__(
        self, root: Path, number: int, *, kinds: frozenset[str] = NEED_SPACE, after: int = 0, times: int = 1 << 30
    ) -> None:
        super().__init__(root)
        self.number = number
        self.kinds = kinds
        self.after = after
        self.times = times

    def before(self, change: Change) -> None:
        """Raise what the system says."""
        if change.kind not in self.kinds:
            return
        self.after -= 1
        if self.after < 0 and self.times > 0:
            self.times -= 1
            raise OSError(self.number, os.strerror(self.number), change.path)

    def written(self, changes: list[Change]) -> None:
        """Take back what came after the space was used up."""
        for place, change in enumerate(changes):
            try:
                self.before(change)
            except OSError:
                undo(changes[place:])
                raise
            self.note(change)


def full(root: Path, after: int = 0) -> Refusing:
    """Return a disk that is full after some changes."""
    return Refusing(root, errno.ENOSPC, after=after)


def undo(changes: list[Change]) -> None:
    """Leave half of the first file that a library has written, and nothing of those behind it."""
    first, *others = changes
    for change in reversed(others):
        path = Path(change.path)
        if change.kind == "write":
            path.unlink()
        elif change.kind == "folder":
            path.rmdir()
    path = Path(first.path)
    if first.kind == "write":
        os.truncate(path, path.stat().st_size // 2)
    elif first.kind == "folder":
        path.rmdir()


def seen(folder: Path) -> _Seen:
    """Return what shows whether something below a folder was written."""
    found: _Seen = {}
    for path in [folder, *folder.rglob("*")] if folder.is_dir() else []:
        about = path.stat()
        found[path] = None if path.is_dir() else (about.st_ino, about.st_mtime_ns, about.st_size)
    return found


def difference(before: _Seen, after: _Seen) -> Iterator[tuple[Kind, Path]]:
    """Yield the changes that lead from one to the other."""
    for path in sorted(before.keys() - after.keys(), reverse=True):
        yield "remove folder" if before[path] is None else "remove", path
    for path, about in sorted(after.items(), key=lambda item: item[0]):
        if path not in before and about is None:
            yield "folder", path
        elif about is not None and before.get(path) != about:
            yield "write", path
