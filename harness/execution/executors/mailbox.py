"""Word of a stage through a folder that its node shares with the run: what is heard of it, and what is wished of it.

A node appends lines and the run reads them; nobody waits for anybody, locks anything or compares times.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from harness.execution.executors.host import Wish


class Wishes:
    """What a run wishes of a stage meanwhile: a file whose lines it adds, and the node reads."""

    def __init__(self, path: Path) -> None:
        """Use a file, which need not exist."""
        self._path = path
        self._seen = 0

    def ask(self, wish: Wish) -> None:
        """Ask for something; nothing happens where the folder is gone."""
        with contextlib.suppress(OSError), self._path.open("a", encoding="utf-8") as stream:
            stream.write(f"{wish}\n")

    def forget(self) -> None:
        """Remove the file: the stage is over."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def __call__(self) -> Wish | None:
        """Return the next wish that was not returned before."""
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines()
        except OSError:
            return None
        if len(lines) <= self._seen:
            return None
        self._seen += 1
        return "stop" if lines[self._seen - 1] == "stop" else "keep"


class Mailbox:
    """The folder of one stage."""

    def __init__(self, folder: Path) -> None:
        """Use a folder, which the run makes."""
        self.folder = folder
        self.wishes = Wishes(folder / "wishes")
        self._read = 0

    @property
    def _said(self) -> Path:
        return self.folder / "said.jsonl"

    def say(self, event: dict[str, Any]) -> None:
        """Add what is to be heard of the stage."""
        with self._said.open("a", encoding="utf-8") as stream:  # opened anew: a network file system shows it then
            stream.write(json.dumps(event) + "\n")

    def heard(self) -> list[dict[str, Any]]:
        """Return what was said since the last call; a line that is not whole yet waits."""
        try:
            with self._said.open("rb") as stream:
                stream.seek(self._read)
                whole, newline, _ = stream.read().rpartition(b"\n")
        except OSError:  # nothing was said yet
            return []
        self._read += len(whole) + len(newline)
        return [json.loads(line) for line in whole.splitlines()]

    def begun(self) -> int:
        """Return how often the stage was begun, by all jobs that this folder has seen."""
        try:
            return self._said.read_text(encoding="utf-8").count('{"event": "began"')
        except OSError:
            return 0
