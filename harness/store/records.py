"""One finished stage, read: every file is checked against its sha256 before anything is made of it."""

from __future__ import annotations

import contextlib
import hashlib
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.errors import StageError
from harness.store.files import parse, read_jsonl
from harness.store.identity import file_digest
from harness.store.manifest import cannot_read, files, read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


#: What the stage warned of, where it did: a list of texts.
WARNINGS = "warnings.json"


class CorruptError(StageError):
    """A file of the store is not what its manifest says. The stage is moved aside, and the next run makes it anew."""


@dataclass(frozen=True)
class Record:
    """One finished stage. Every file is checked against its sha256 when it is first read."""

    kind: str
    id: str
    folder: Path
    manifest: Mapping[str, Any]
    _checked: set[str] = field(default_factory=set, compare=False, repr=False)

    @property
    def config(self) -> dict[str, Any]:
        """The settings that the id was made from."""
        return dict(self.json("config.json"))

    @property
    def label(self) -> str:
        """What people call the stage."""
        return str(self.manifest["label"])

    @property
    def warnings(self) -> list[str]:
        """What the stage warned of."""
        return list(self.json(WARNINGS)) if self.holds(WARNINGS) else []

    def path(self, name: str) -> Path:
        """Return the path of a file, or of a folder of files, after checking its content.

        Raises:
            StageError: the stage has no such file, or let it go.
            CorruptError: a file is not what was written.
        """
        below = self._below(name)
        if not below:
            raise StageError(f"no file {name!r} in this stage", where=str(self.folder))
        for known in below:
            self._check(known)
        return self.folder / name

    def json(self, name: str) -> Any:
        """Read a JSON file."""
        return parse(self._content(name))

    def jsonl(self, name: str) -> Iterator[dict[str, Any]]:
        """Read a JSON Lines file."""
        return read_jsonl(self.path(name))

    def digest(self, name: str) -> str:
        """Return the sha256 of a file, as the manifest has it; also of one that was let go."""
        return str(self.manifest["files"][name]["sha256"])

    def holds(self, name: str) -> bool:
        """Return whether the stage has this file, or files below this folder."""
        return bool(self._below(name))

    def verify(self) -> None:
        """Check every file."""
        for name in files(self.manifest):
            self._check(name)

    def _content(self, name: str) -> bytes:
        """Return the bytes of a file after checking these very bytes: small files are read once, not twice."""
        if name in files(self.manifest):
            with contextlib.suppress(OSError):  # :meth:`path` says what is wrong
                content = (self.folder / name).read_bytes()
                if hashlib.sha256(content).hexdigest() == self.digest(name):
                    self._checked.add(name)
                    return content
        self._checked.discard(name)
        return self.path(name).read_bytes()

    def _below(self, name: str) -> list[str]:
        return [known for known in files(self.manifest) if known == name or known.startswith(f"{name}/")]

    def _check(self, name: str) -> None:
        if name in self._checked:
            return
        if self._differs(name):
            current = read_manifest(self.folder, self.kind, self.id)
            if current is not None and current.get("let_go") != self.manifest.get("let_go"):
                raise StageError(
                    f"{name} was let go of, or given back, while it was read",
                    where=str(self.folder),
                    hint="run again",
                )
            where = set_aside(self.folder, self.kind, self.id) if self._differs(name) else None
            raise CorruptError(
                f"{name} is not what was written (its sha256 differs)",
                where=str(self.folder),
                hint=f"the stage was moved to {where}; run again and it will be made anew"
                if where
                else "remove this folder and run again: the stage will be made anew",
            )
        self._checked.add(name)

    def _differs(self, name: str) -> bool:
        path = self.folder / name
        try:
            return file_digest(path) != self.digest(name)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return True
        except OSError as error:
            raise cannot_read(path, error) from error


def set_aside(folder: Path, kind: str, stage_id: str) -> Path | None:
    """Move a damaged stage out of the way, so that it can be made anew; return where to, or None if that failed."""
    aside = folder.parent.parent / ".corrupt" / f"{kind}-{stage_id}-{uuid.uuid4().hex[:8]}"
    with contextlib.suppress(OSError):
        aside.parent.mkdir(exist_ok=True)
        folder.rename(aside)
        return aside
    return None
