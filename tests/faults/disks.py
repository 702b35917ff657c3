"""What lies on a disk after a list of changes: as a killed process leaves it, and as a power failure may.

A change of a file's content is lost where the file was not forced to the disk since, and a change of a name where its
folder was not. What is lost of a file leaves it empty. A rename between two folders is one change, on the disk as soon
as one of the two was forced there.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: Below a root: the content of files by their path, None for folders.
State: TypeAlias = "dict[str, bytes | None]"

Loss: TypeAlias = Literal["nothing", "content", "names"]
"""What a failure takes that was not forced to the disk: nothing (a kill), content, or names too (a power failure)."""

_PROCESS = re.compile(r"(?<![0-9a-f])\d+-[0-9a-f]{8}(?=$|[./])")
_DRAWN = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")


@dataclass(frozen=True)
class Made:
    """A change that was made, of paths below the root."""

    kind: str
    path: str
    source: str = ""
    content: bytes = b""
    """The whole content of a file that was written."""


@dataclass(eq=False)
class File:
    """A file, under however many names."""

    content: bytes
    kept: bytes = b""
    """What of it is on the disk."""


@dataclass(eq=False)
class Folder:
    """A folder, as processes see it and as it is on the disk."""

    names: dict[str, File | Folder] = field(default_factory=dict)
    kept: dict[str, File | Folder] = field(default_factory=dict)
    came_from: dict[str, tuple[Folder, str]] = field(default_factory=dict)
    """Where a name was before a rename that is not on the disk."""


class Disk:
    """A folder on a disk, change by change."""

    def __init__(self, state: Mapping[str, bytes | None]) -> None:
        """Begin with what lies there for long, as :func:`read` returns it."""
        self.root = Folder()
        for path, content in sorted(state.items()):
            folder, name = self._place(path)
            folder.names[name] = folder.kept[name] = Folder() if content is None else File(content, content)

    def make(self, change: Made) -> None:
        """Make a change."""
        if change.path == ".":  # the root itself: it is there from the start
            if change.kind == "sync":
                self._keep_names(self.root)
            return
        folder, name = self._place(change.path)
        match change.kind:
            case "folder":
                folder.names[name] = Folder()
            case "open":
                folder.names.setdefault(name, File(b""))
            case "write":
                file = folder.names.setdefault(name, File(b""))
                assert isinstance(file, File)
                file.content = change.content
            case "link":
                folder.names[name] = self._at(change.source)
            case "rename":
                before, old = self._place(change.source)
                folder.names[name] = before.names.pop(old)
                if before is not folder:
                    folder.came_from[name] = before, old
            case "remove" | "remove folder":
                del folder.names[name]
            case "sync":
                node = folder.names[name]
                if isinstance(node, File):
                    node.kept = node.content
                else:
                    self._keep_names(node)
            case _:
                raise AssertionError(change)

    def state(self, loss: Loss = "nothing") -> State:
        """Return what is there after a failure."""
        found: State = {}

        def walk(folder: Folder, above: PurePosixPath) -> None:
            for name, node in (folder.kept if loss == "names" else folder.names).items():
                path = (above / name).as_posix()
                if isinstance(node, Folder):
                    found[path] = None
                    walk(node, above / name)
                else:
                    found[path] = node.content if loss == "nothing" else node.kept

        walk(self.root, PurePosixPath())
        return found

    def _keep_names(self, folder: Folder) -> None:
        folder.kept = dict(folder.names)
        for name, (before, old) in folder.came_from.items():
            if before.kept.get(old) is folder.names.get(name):
                del before.kept[old]
        folder.came_from.clear()

    def _place(self, path: str) -> tuple[Folder, str]:
        *above, name = path.split("/")
        folder = self.root
        for part in above:
            inner = folder.names[part]
            assert isinstance(inner, Folder)
            folder = inner
        return folder, name

    def _at(self, path: str) -> File | Folder:
        folder, name = self._place(path)
        return folder.names[name]


def torn(change: Made) -> Made:
    """Return a change of a file's content that a kill has cut in half."""
    return Made(change.kind, change.path, change.source, change.content[: len(change.content) // 2])


def read(root: Path) -> State:
    """Return what lies below a folder."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(root.rglob("*"))
    }


def lay(state: Mapping[str, bytes | None], root: Path, *, seconds_ago: float = 0.0) -> None:
    """Let a folder hold a state and nothing else; files that are as they should be are left alone.

    What is written anew was written ``seconds_ago``.
    """
    when = time.time() - seconds_ago
    root.mkdir(parents=True, exist_ok=True)
    for path in sorted(root.rglob("*"), reverse=True):
        name = path.relative_to(root).as_posix()
        if name not in state or (state[name] is None) == path.is_file():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name, content in sorted(state.items()):
        path = root / name
        if content is None:
            path.mkdir(exist_ok=True)
        elif not path.is_file() or path.read_bytes() != content:
            path.unlink(missing_ok=True)  # it may have a second name
            path.write_bytes(content)
            os.utime(path, (when, when))


def plain(path: str) -> str:
    """Return a path without what differs from process to process."""
    return _DRAWN.sub("U", _PROCESS.sub("P", path))


def digest(state: Mapping[str, bytes | None]) -> str:
    """Return the sha256 of a state, whatever the names that are drawn."""
    whole = hashlib.sha256()
    for line in sorted(_lines(state)):
        whole.update(f"{line}\n".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


def _lines(state: Mapping[str, bytes | None]) -> Iterator[str]:
    for path, content in state.items():
        if path.endswith(".owner"):  # who wrote it says nothing but whether he still lives
            content = bytes(bool(content))  # noqa: PLW2901  # its place is what matters
        yield f"{plain(path)} {'folder' if content is None else hashlib.sha256(content).hexdigest()}"
