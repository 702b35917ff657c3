"""One finished stage, read: every file is checked against its sha256 before anything is made of it."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from harness.errors import MachineError, StageError
from harness.store.damage import CorruptError, Damage
from harness.store.files import parse, read_jsonl
from harness.store.identity import file_digest
from harness.store.manifest import (
    MANIFEST,
    OtherFormat,
    Unreadable,
    cannot_read,
    files,
    is_draft,
    read_manifest,
    wrong_size,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from harness.spec.section import Document
    from harness.store.damage import What


#: What the id was made from, and what the stage was made under.
CONFIG, ENVIRONMENT = "config.json", "environment.json"

#: Who ran the stage and on which machine, where that was a cluster.
RAN = "ran.json"

#: What the stage warned of, where it did: a list of texts.
WARNINGS = "warnings.json"

Content = TypeVar("Content", bound="Document")

_DIFFERS = "is not what was written (its sha256 differs)"


@dataclass(frozen=True)
class Record:
    """One finished stage. Every file is checked against its sha256 when it is first read."""

    kind: str
    id: str
    folder: Path
    manifest: Mapping[str, Any]
    _checked: set[str] = field(default_factory=set, compare=False, repr=False)

    @property
    def label(self) -> str:
        """What people call the stage."""
        return str(self.manifest["label"])

    @property
    def ran(self) -> dict[str, str]:
        """Who ran the stage (``executor``) and on which machine (``host``), where that was a cluster."""
        return dict(self.json(RAN)) if self.holds(RAN) else {}

    @property
    def warnings(self) -> list[str]:
        """What the stage warned of."""
        return list(self.json(WARNINGS)) if self.holds(WARNINGS) else []

    def path(self, name: str) -> Path:
        """Return the path of a file, or of a folder of files, after checking its content.

        Raises:
            StageError: the stage has no such file, or it was pruned.
            CorruptError: a file is not what was written.
        """
        below = self._below(name)
        if not below:
            raise StageError(f"no file {name!r} in this stage", where=str(self.folder))
        for file in below:
            self._check(file)
        return self.folder / name

    def read(self, kind: type[Content]) -> Content:
        """Read one of the stage's files, or its configuration, as what it is.

        Raises:
            OtherFormat: another release of the harness has written it.
        """
        content = self._content(kind.file)
        try:
            return validated(kind, content)
        except ValidationError as error:
            raise self.other_form(kind.file, error) from None

    def lines(self, kind: type[Content]) -> Iterator[Content]:
        """Read one of the stage's files of lines as what they are; see :meth:`read`."""
        try:
            with self.path(kind.file).open("rb") as stream:
                for line in stream:  # only a line feed ends a line, whatever Unicode says of other characters
                    yield validated(kind, line)
        except ValidationError as error:
            raise self.other_form(kind.file, error) from None

    def json(self, name: str) -> Any:
        """Read a JSON file."""
        return parse(self._content(name))

    def jsonl(self, name: str) -> Iterator[dict[str, Any]]:
        """Read a JSON Lines file."""
        return read_jsonl(self.path(name))

    def digest(self, name: str) -> str:
        """Return the sha256 of a file, as the manifest has it; also of one that was pruned."""
        return str(self.manifest["files"][name]["sha256"])

    def holds(self, name: str) -> bool:
        """Return whether the stage has this file, or files below this folder."""
        return bool(self._below(name))

    def verify(self) -> None:
        """Check every file that the manifest names."""
        for name in files(self.manifest):
            self._check(name)

    def damages(self) -> Iterator[Damage]:
        """Return every file that is not what was written, or that the manifest does not name."""
        for name in files(self.manifest):
            try:
                problem = wrong_size(self.folder, name, self.manifest)
                if problem is not None:
                    yield self.damage(name, *problem)
                elif self._differs(name):
                    yield self.damage(name, "digest", _DIFFERS)
            except MachineError as error:
                yield self.damage(name, "unreadable", error.what)
        named = {MANIFEST, *self.manifest["files"]}  # what was pruned may have been left by one who was killed
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder).as_posix()
            if not path.is_dir() and name not in named and not is_draft(name):
                yield self.damage(name, "unexpected", "is not in the manifest")

    def wrong_size(self) -> Damage | None:
        """Return the first file that is not there with its size."""
        for name in files(self.manifest):
            problem = wrong_size(self.folder, name, self.manifest)
            if problem is not None:
                return self.damage(name, *problem)
        return None

    def damage(self, name: str, what: What, details: str) -> Damage:
        """Return what is wrong with a file of this stage."""
        return Damage(self.kind, self.id, self.folder, name, what, details, self.label)

    def other_form(self, name: str, error: ValidationError) -> OtherFormat:
        """Return the message for a file whose content this release cannot have written."""
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        return OtherFormat(
            f"{name} has another form than this release writes ({place}: {first['msg']})",
            where=str(self.folder),
            hint="harness run makes the stage of this release",
        )

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
        return [file for file in files(self.manifest) if file == name or file.startswith(f"{name}/")]

    def _check(self, name: str) -> None:
        if name in self._checked:
            return
        if self._differs(name):
            try:
                current = read_manifest(self.folder, self.kind, self.id)
            except Unreadable as error:
                raise CorruptError(self.damage(MANIFEST, "manifest", str(error))) from None
            if current.get("pruned") != self.manifest.get("pruned"):
                raise StageError(
                    f"{name} was pruned, or restored, while it was read",
                    where=str(self.folder),
                    hint="run again",
                )
            problem = wrong_size(self.folder, name, self.manifest) or ("digest", _DIFFERS)
            raise CorruptError(self.damage(name, *problem))
        self._checked.add(name)

    def _differs(self, name: str) -> bool:
        path = self.folder / name
        try:
            return file_digest(path) != self.digest(name)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return True
        except OSError as error:
            raise cannot_read(path, error) from error


def validated(kind: type[Content], text: bytes) -> Content:
    """Return JSON as an object of a class."""
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        if error.errors(include_url=False)[0]["type"] != "json_invalid":
            raise
        return kind.model_validate(parse(text))  # a lone surrogate, which pydantic's own reader refuses
