"""A stage being written, and the one moment in which it becomes visible."""

from __future__ import annotations

import datetime as dt
import errno
import shutil
from typing import TYPE_CHECKING, Any

from harness.errors import MachineError, StageError
from harness.store.damage import CorruptError, Damage
from harness.store.files import dump, machine_errors, replace_text, seal, sync, write_json, write_jsonl
from harness.store.identity import file_digest
from harness.store.manifest import FORMAT, MANIFEST, files
from harness.store.records import WARNINGS, Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from harness.store.stages import Store

#: How often a place that another process is just clearing is tried again.
_TRIES = 3


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
        replace: bool = False,
    ) -> Record:
        """Make the stage visible, as a whole.

        Args:
            config: what the id was made from.
            environment: the fingerprint it was made under.
            label: what people call it.
            measured: files that hold timings and may differ between two equal runs.
            replace: put it in the place of an earlier result, which the user wants replaced.

        Returns:
            The finished record; the earlier one where another process was first.

        Raises:
            StageError: an earlier result of the same stage under the same environment differs.
            MachineError: the disk is full or the folder cannot be written.
        """
        self.write_json("config.json", config)
        self.write_json("environment.json", environment)
        if self._store.warned:  # which process was first to load a model decides who warns: no part of the result
            self.write_json(WARNINGS, list(self._store.warned))
            measured = (*measured, WARNINGS)
        with machine_errors(self.folder):
            below = sorted(self.folder.rglob("*"))
            entries = {
                path.relative_to(self.folder).as_posix(): {"sha256": file_digest(path), "size": path.stat().st_size}
                for path in below
                if path.is_file()
            }
            for path in reversed(below):  # what is in a folder, then the folder
                sync(path)
        whole = {
            "format": FORMAT,
            "kind": self.kind,
            "id": self.id,
            "label": label,
            "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "plugins": [dict(plugin) for plugin in self._store.plugins],
            "measured": sorted({*measured, "environment.json"}),
            "files": entries,
        }
        manifest = seal(whole)
        self.write_json(MANIFEST, manifest)
        target = self._store.folder(self.kind, self.id)
        with machine_errors(target):
            sync(self.folder / MANIFEST)
            sync(self.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            record = self._place(target, manifest, environment, replace=replace)
            sync(target.parent)
        return record

    def _place(
        self, target: Path, manifest: dict[str, Any], environment: Mapping[str, Any], *, replace: bool
    ) -> Record:
        for _ in range(_TRIES):
            try:
                self.folder.rename(target)
            except OSError as error:
                if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                    raise
            else:
                return Record(self.kind, self.id, target, manifest)
            earlier = self._store.look(self.kind, self.id)
            if isinstance(earlier, Damage):
                self._store.set_aside(earlier)
            elif earlier is not None and replace:
                return self._take_the_place(earlier, manifest)
            elif earlier is not None:
                try:
                    earlier.verify()
                except CorruptError as error:
                    self._store.set_aside(error.damage)
                except StageError:  # files of it were let go meanwhile
                    continue
                else:
                    return self._join(earlier, manifest, environment)
        raise MachineError("cannot put the finished stage into its place", where=str(target))

    def _join(self, earlier: Record, manifest: dict[str, Any], environment: Mapping[str, Any]) -> Record:
        """Keep the earlier record, and give it back the files that were let go."""
        differing = _differing(earlier.manifest, manifest)
        if differing and earlier.json("environment.json") == environment:
            raise StageError(
                f"two runs of the same stage gave different {', '.join(differing)}",
                where=str(earlier.folder),
                hint="the first result is kept; please report it, because a stage must be deterministic",
            )
        gone = set(earlier.manifest.get("let_go", ()))
        back = sorted(gone & set(manifest["files"]))
        if not back:
            return earlier
        if differing:  # made on another machine: its checkpoint goes with its own log, not with the earlier one's
            return self._take_the_place(earlier, manifest)
        for name in back:  # until the manifest is replaced, nobody looks for them
            place = earlier.folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).replace(place)
            sync(place.parent)
        entries = {**earlier.manifest["files"], **{name: manifest["files"][name] for name in back}}
        whole = seal({**earlier.manifest, "files": entries, "let_go": sorted(gone - set(back))})
        replace_text(earlier.folder / MANIFEST, dump(whole))
        return Record(self.kind, self.id, earlier.folder, whole)

    def _take_the_place(self, earlier: Record, manifest: dict[str, Any]) -> Record:
        aside = self.folder.with_name(f"{self.folder.name}.old")
        earlier.folder.rename(aside)
        self.folder.rename(earlier.folder)
        shutil.rmtree(aside, ignore_errors=True)
        return Record(self.kind, self.id, earlier.folder, manifest)


def _differing(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> list[str]:
    """Return the files that two runs of a stage do not agree on; what was let go is known by its digest."""
    measured = {*earlier["measured"], *later["measured"]}
    first, second = earlier["files"], files(later)
    return sorted(
        name
        for name in {*files(earlier), *second} - measured
        if name not in second or name not in first or first[name]["sha256"] != second[name]["sha256"]
    )
