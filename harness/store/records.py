"""The store: one folder a stage, named by the stage's id, there as a whole or not at all.

A stage is written into a draft folder of its own. ``commit`` syncs every file, writes ``manifest.json`` (sha256 and
size of each file) last and renames the folder into place. Correctness needs no lock: two processes that make the same
stage both succeed, the first to finish is kept, and a second result that differs under the same environment is an
error.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import shutil
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import StageError
from harness.store.files import dump, machine_errors, read_jsonl, replace_text, sync, write_json, write_jsonl
from harness.store.identity import file_digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MANIFEST = "manifest.json"

#: Version of the layout; a store of another version is refused, never guessed at.
FORMAT = 1


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

    def path(self, name: str) -> Path:
        """Return the path of a file, or of a folder of files, after checking its content."""
        below = [known for known in self.manifest["files"] if known == name or known.startswith(f"{name}/")]
        if not below:
            raise StageError(f"no file {name!r} in this stage", where=str(self.folder))
        for known in below:
            self._check(known)
        return self.folder / name

    def json(self, name: str) -> Any:
        """Read a JSON file."""
        return json.loads(self.path(name).read_text(encoding="utf-8"))

    def jsonl(self, name: str) -> Iterator[dict[str, Any]]:
        """Read a JSON Lines file."""
        return read_jsonl(self.path(name))

    def digest(self, name: str) -> str:
        """Return the sha256 of a file, as the manifest has it."""
        return str(self.manifest["files"][name]["sha256"])

    def holds(self, name: str) -> bool:
        """Return whether the stage has this file, or files below this folder."""
        return any(known == name or known.startswith(f"{name}/") for known in self.manifest["files"])

    def verify(self) -> None:
        """Check every file."""
        for name in self.manifest["files"]:
            self._check(name)

    def _check(self, name: str) -> None:
        if name in self._checked:
            return
        path = self.folder / name
        if not path.is_file() or file_digest(path) != self.manifest["files"][name]["sha256"]:
            aside = self.folder.parent.parent / ".corrupt" / f"{self.kind}-{self.id}-{uuid.uuid4().hex[:8]}"
            with contextlib.suppress(OSError):
                aside.parent.mkdir(exist_ok=True)
                self.folder.rename(aside)
            raise CorruptError(
                f"{name} is not what was written (its sha256 differs)",
                where=str(self.folder),
                hint="the stage was moved aside; run again and it will be made anew",
            )
        self._checked.add(name)


class Draft:
    """A stage being written."""

    def __init__(self, store: Store, kind: str, stage_id: str, folder: Path) -> None:
        """Make a draft; see :meth:`Store.draft`."""
        self._store = store
        self.kind = kind
        self.id = stage_id
        self.folder = folder

    def write_json(self, name: str, value: Any) -> None:
        """Write one JSON value into the draft."""
        write_json(self.folder / name, value)

    def write_jsonl(self, name: str, rows: Iterable[Mapping[str, Any]]) -> int:
        """Write JSON Lines into the draft; return how many."""
        return write_jsonl(self.folder / name, rows)

    def commit(
        self,
        *,
        config: Mapping[str, Any],
        environment: Mapping[str, Any],
        label: str,
        measured: Iterable[str] = (),
    ) -> Record:
        """Make the stage visible, as a whole.

        Args:
            config: what the id was made from.
            environment: the fingerprint it was made under.
            label: what people call it.
            measured: files that hold timings and may differ between two equal runs.

        Returns:
            The finished record; the earlier one where another process was first.
        """
        self.write_json("config.json", config)
        self.write_json("environment.json", environment)
        with machine_errors(self.folder):
            files = sorted(path for path in self.folder.rglob("*") if path.is_file())
            entries = {
                str(path.relative_to(self.folder)): {"sha256": file_digest(path), "size": path.stat().st_size}
                for path in files
            }
            for path in (*files, *sorted({path.parent for path in files}, reverse=True)):
                sync(path)
        manifest = {
            "format": FORMAT,
            "kind": self.kind,
            "id": self.id,
            "label": label,
            "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "measured": sorted({*measured, "environment.json"}),
            "files": entries,
        }
        self.write_json(MANIFEST, manifest)
        target = self._store.folder(self.kind, self.id)
        with machine_errors(target):
            sync(self.folder / MANIFEST)
            sync(self.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                self.folder.rename(target)
            except OSError:
                earlier = self._store.find(self.kind, self.id)
                if earlier is None:
                    raise
                self._agree(earlier, manifest, environment)
                if not earlier.manifest.get("let_go"):
                    return earlier
                aside = self.folder.with_name(f"{self.folder.name}.old")
                target.rename(aside)
                self.folder.rename(target)
                shutil.rmtree(aside, ignore_errors=True)
            sync(target.parent)
        return Record(self.kind, self.id, target, manifest)

    def _agree(self, earlier: Record, manifest: Mapping[str, Any], environment: Mapping[str, Any]) -> None:
        measured = set(manifest["measured"])
        differing = [
            name
            for name, entry in manifest["files"].items()
            if name not in measured
            and name not in earlier.manifest.get("let_go", ())
            and earlier.manifest["files"].get(name, {}).get("sha256") != entry["sha256"]
        ]
        if differing and earlier.json("environment.json") == environment:
            raise StageError(
                f"two runs of the same stage gave different {', '.join(differing)}",
                where=str(earlier.folder),
                hint="the first result is kept; please report it, because a stage must be deterministic",
            )


class Store:
    """All finished stages below one folder."""

    def __init__(self, root: Path) -> None:
        """Open the store below ``root`` (``results/``); nothing is created before the first draft."""
        self.root = root
        self.base = root / "store"

    def folder(self, kind: str, stage_id: str) -> Path:
        """Return where a stage lies, or would lie."""
        return self.base / kind / stage_id

    def find(self, kind: str, stage_id: str) -> Record | None:
        """Return a finished stage, or None; a folder whose manifest cannot be read counts as absent."""
        folder = self.folder(kind, stage_id)
        try:
            manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self._clear_unreadable(folder)
            return None
        if manifest.get("format") != FORMAT:
            raise StageError(
                "this stage was written in another format",
                where=str(folder),
                got=manifest.get("format"),
                expected=f"format {FORMAT}",
                hint="use another --results DIR, or the release of the harness that wrote it",
            )
        for name, entry in manifest["files"].items():
            path = folder / name
            if not path.is_file() or path.stat().st_size != entry["size"]:
                self._clear_unreadable(folder)
                return None
        return Record(kind, stage_id, folder, manifest)

    def open(self, kind: str, stage_id: str) -> Record:
        """Return a finished stage; its absence is an error."""
        record = self.find(kind, stage_id)
        if record is None:
            raise StageError(f"the store has no finished {kind} stage {stage_id[:12]}", where=str(self.base))
        return record

    def records(self, kind: str) -> Iterator[Record]:
        """Return every finished stage of a kind, by id."""
        folder = self.base / kind
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            record = self.find(kind, path.name)
            if record is not None:
                yield record

    @contextlib.contextmanager
    def draft(self, kind: str, stage_id: str) -> Iterator[Draft]:
        """Give a folder of its own to write a stage into; what is not committed is removed."""
        folder = self.base / ".drafts" / f"{kind}-{stage_id[:16]}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        with machine_errors(folder):
            folder.mkdir(parents=True)
            (folder.parent / f"{folder.name}.owner").write_text(_owner(os.getpid()), encoding="utf-8")
        try:
            yield Draft(self, kind, stage_id, folder)
        finally:
            _remove(folder)

    def let_go(self, kind: str, stage_id: str, names: Iterable[str]) -> None:
        """Remove files (or folders of files) of a finished stage, and say so in its manifest first."""
        record = self.find(kind, stage_id)
        if record is None:
            return
        gone = [
            known
            for known in record.manifest["files"]
            if any(known == name or known.startswith(f"{name}/") for name in names)
        ]
        if not gone:
            return
        kept = {name: entry for name, entry in record.manifest["files"].items() if name not in gone}
        manifest = {**record.manifest, "files": kept, "let_go": sorted({*record.manifest.get("let_go", ()), *gone})}
        replace_text(record.folder / MANIFEST, dump(manifest))
        with machine_errors(record.folder):
            for name in gone:
                (record.folder / name).unlink(missing_ok=True)

    def scratch(self, kind: str, stage_id: str) -> Path:
        """Return the folder in which a long stage keeps what it goes on from; it survives a stage that was stopped."""
        return self.base / ".unfinished" / f"{kind}-{stage_id}"

    def sweep(self) -> int:
        """Remove drafts whose process has ended; return how many."""
        removed = 0
        for mark in sorted((self.base / ".drafts").glob("*.owner")):
            try:
                owner = mark.read_text(encoding="utf-8")
                pid = int(owner.partition(" ")[0])
            except (OSError, ValueError):
                continue
            if owner != _owner(pid) and owner.partition(" ")[2].partition(" ")[0] == _boot():
                _remove(mark.with_suffix(""))
                removed += 1
        return removed

    def _clear_unreadable(self, folder: Path) -> None:
        """Move a damaged stage aside, so that it can be made anew in its place."""
        if folder.is_dir():
            aside = self.base / ".corrupt" / f"{folder.parent.name}-{folder.name}-{uuid.uuid4().hex[:8]}"
            with contextlib.suppress(OSError):
                aside.parent.mkdir(parents=True, exist_ok=True)
                folder.rename(aside)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    (folder.parent / f"{folder.name}.owner").unlink(missing_ok=True)


def _owner(pid: int) -> str:
    """Return pid, boot and start time of a process: a reused pid has another start time."""
    try:
        started = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        started = "ended"
    return f"{pid} {_boot()} {started}"


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return "unknown-boot"
