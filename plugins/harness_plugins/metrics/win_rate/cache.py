"""Replies on disk, one file each, so that none is bought twice: not by a later run, nor by two processes at once.

Who wants to buy one holds a lock on its claim while the request is under way; the kernel gives the lock back when the
process ends, however it ends. The reply is on the disk before anything uses it, so a crash loses the requests that
were under way and no other. A reply that holds no verdict was paid for, and is kept too.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, get_args

from harness.api import MachineError, open_file, remove_file, replace_file
from harness_plugins.metrics.win_rate.comparison import Choice, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_FORMAT: Final = 1

#: Why a reply that is kept may hold no verdict.
_KEPT: Final = ("unparsable", "refused")

#: Longest reply that is kept, in characters: what stands at its end decides, so that it is cut at its beginning.
_REPLY: Final = 200_000


def key_of(content: Mapping[str, Any]) -> str:
    """Return the sha256 of everything that can change a reply."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Kept:
    """A reply that was bought."""

    outcome: Outcome
    """What it was read as when it came."""
    reply: str
    bought: float
    """When, in seconds since 1970; 0 where that was not noted."""


class ReplyCache:
    """The replies below one folder."""

    def __init__(self, folder: Path) -> None:
        """Open it; folders are made when something is written."""
        self._folder = folder

    def find(self, key: str) -> Kept | None:
        """Return a stored reply; a file that is not what was written counts as absent."""
        try:
            value = json.loads(self._path(key).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        if not isinstance(value, dict) or value.get("sha256") != _seal(value) or value.get("key") != key:
            return None
        choice, reason = value.get("choice"), value.get("reason")
        if value.get("format") != _FORMAT or not (choice in get_args(Choice) or reason in _KEPT):
            return None
        outcome = Outcome(choice, reason, value["input_tokens"], value["output_tokens"])
        return Kept(outcome, value["reply"], value.get("bought", 0.0))

    def put(self, key: str, outcome: Outcome, *, reply: str, model: str) -> None:
        """Keep a reply, what it was read as, and the model that the endpoint says has answered."""
        assert outcome.choice is not None or outcome.reason in _KEPT, "only a reply is kept"
        value: dict[str, Any] = {
            "format": _FORMAT,
            "key": key,
            "choice": outcome.choice,
            "reason": outcome.reason,
            "reply": reply[-_REPLY:],
            "bought": time.time(),
            "model": model,
            "input_tokens": outcome.input_tokens,
            "output_tokens": outcome.output_tokens,
        }
        value["sha256"] = _seal(value)
        replace_synced(self._path(key), json.dumps(value, indent=1) + "\n")

    @contextlib.contextmanager
    def claim(self, key: str) -> Iterator[bool]:
        """Give whether this process may buy a verdict now; inside, no other may."""
        path = self._path(key).with_suffix(".claim")
        with writing(path):
            descriptor = open_file(path)
        try:
            held = lock(descriptor)
            # whoever held it may have removed the file between its opening and the lock: then the lock is on nothing
            mine = held and _same_file(path, descriptor)
            try:
                yield mine
            finally:
                if mine:
                    remove_file(path, missing_ok=True)
        finally:
            os.close(descriptor)

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.json"


def lock(descriptor: int, *, wait: bool = False) -> bool:
    """Lock an open file against other processes; return whether that worked. It ends when the file is closed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # a file system without locks: two runs at once may then buy the same verdict
        return error.errno in {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
    return True


def replace_synced(path: Path, text: str) -> None:
    """Write a file as a whole: after a crash there is the old one, the new one or none."""
    with writing(path):
        replace_file(path, text.encode("utf-8"))


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses into one message."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise MachineError(f"the judge's cache cannot be written: {reason}", where=str(path.parent)) from error


def _same_file(path: Path, descriptor: int) -> bool:
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False


def _seal(value: Mapping[str, Any]) -> str:
    return key_of({name: part for name, part in value.items() if name != "sha256"})
