"""Finished parts of a stage that is not finished: what a killed one need not compute again.

Each file holds some parts and the sha256 of all that follows it, and is put into place as a whole. A part is used only
by the same stage in the same environment, and found by what it was computed from; so it is what would be computed now,
bit for bit. Anything else is left alone or, where it is damaged, removed.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from typing import TYPE_CHECKING, Any, TypeVar

from harness import disk
from harness.errors import StorageError
from harness.store.files import replace_text
from harness.store.identity import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

SUFFIX = ".parts"

#: Seconds between two files: a stage of a second writes none, and a longer one loses no more than that.
_EVERY = 1.0

Kept = TypeVar("Kept")


class Parts:
    """The parts of one stage below a folder."""

    def __init__(self, folder: Path, identity: Mapping[str, Any], *, minutes: float) -> None:
        """Read what is there.

        Args:
            folder: for this stage alone; it is made when there is something to keep.
            identity: plain JSON that must be equal for parts to be used: the stage's id, the environment.
            minutes: most minutes between two files.
        """
        self._folder = folder
        self._identity = json.loads(json.dumps(identity))
        self._every = min(_EVERY, 60 * minutes)
        self._new: dict[str, tuple[Any, float]] = {}
        self._written = self._asked = time.monotonic()
        self._known: dict[str, tuple[Any, float]] = {}
        #: Seconds that the parts which were found, and asked for, had taken.
        self.seconds = 0.0
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            self._known.update(self._read(path))

    def keep(self, key: Any, compute: Callable[[], Kept]) -> Kept:
        """Return a part: the one that was kept, or what ``compute`` gives, which is kept.

        Args:
            key: plain JSON that says, within the stage, what the part is computed from.
            compute: gives plain JSON, with lists and no tuples.
        """
        name = digest(key)
        if name in self._known:
            part, seconds = self._known.pop(name)
            self.seconds += seconds
            self._asked = time.monotonic()
            kept: Kept = part
            return kept
        result = compute()
        now = time.monotonic()
        self._new[name] = (result, now - self._asked)
        self._asked = now
        if now - self._written >= self._every:
            self._write()
            self._written = time.monotonic()
        return result

    def discard(self) -> None:
        """Remove all parts: the stage is done."""
        disk.remove_tree(self._folder)

    def _write(self) -> None:
        parts = {name: [part, seconds] for name, (part, seconds) in self._new.items()}
        text = json.dumps({"identity": self._identity, "parts": parts})
        try:
            replace_text(self._folder / f"{uuid.uuid4().hex}{SUFFIX}", f"{_sha256(text)}\n{text}")
        except StorageError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            return  # another run did the same stage, and has cleared the folder away in this moment
        self._new.clear()

    def _read(self, path: Path) -> dict[str, tuple[Any, float]]:
        try:
            said, _, text = path.read_bytes().partition(b"\n")
        except OSError:
            return {}
        if said != _sha256(text).encode():
            disk.remove_file(path, missing_ok=True)
            return {}
        value = json.loads(text)
        if value["identity"] != self._identity:
            return {}
        return {name: (part, seconds) for name, (part, seconds) in value["parts"].items()}


def _sha256(text: str | bytes) -> str:
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()
