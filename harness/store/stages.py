"""The store: one folder a stage, named by the stage's id, there as a whole or not at all.

A stage is written into a draft folder of its own. ``commit`` syncs every file, writes ``manifest.json`` (sha256 and
size of each file) last and renames the folder into place. Correctness needs no lock: two processes that make the same
stage both succeed, the first to finish is kept, and a second result that differs under the same environment is an
error.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
import uuid
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from harness import disk
from harness.errors import MachineError, StageError
from harness.store.damage import CorruptError, Damage
from harness.store.drafts import Draft
from harness.store.files import cannot_write, dump, exhausted, machine_errors, replace_text, seal
from harness.store.manifest import MANIFEST, Unreadable, cannot_read, files, read_manifest
from harness.store.owners import SUFFIX, abandoned, owned
from harness.store.records import CONFIG, ENVIRONMENT, RAN, WARNINGS, Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

#: Where plugins keep what is not a stage.
CACHE = "cache"


#: How often a place that another process is just clearing is tried again.
_TRIES = 3

#: After this long without a change what an unfinished stage has kept counts as given up.
_OLD_SECONDS = 60 * 24 * 3600


class Store:
    """All finished stages below one folder."""

    def __init__(
        self,
        root: Path,
        *,
        plugins: Iterable[Mapping[str, Any]] = (),
        warned: Sequence[str] = (),
        ran: Mapping[str, str] | None = None,
    ) -> None:
        """Open the store below ``root`` (``results/``); nothing is created before the first draft.

        ``plugins`` say what the stages that are written here are made by; each record names them. What ``warned`` holds
        when a draft is committed is kept in the record, and ``ran``, who runs them and where.
        """
        self.plugins = tuple(plugins)
        self.root = root
        self.warned = warned
        self.ran = ran
        self.base = root / "store"

    def folder(self, kind: str, stage_id: str) -> Path:
        """Return where a stage lies, or would lie."""
        return self.base / kind / stage_id

    def look(self, kind: str, stage_id: str) -> Record | Damage | None:
        """Return a finished stage, or the first thing that is wrong with it; None where there is none.

        Nothing is changed. Files are there with their sizes; their content is checked when it is read.

        Raises:
            OtherFormat: the stage was written in another format.
            MachineError: the operating system does not let it be read.
        """
        seen: Record | Damage | None = None
        for _ in range(2):  # one that is just being replaced, or pruned, looks damaged once
            seen = self.described(kind, stage_id)
            if isinstance(seen, Record):
                seen = seen.wrong_size() or seen
            if not isinstance(seen, Damage):
                break
        return seen

    def described(self, kind: str, stage_id: str) -> Record | Damage | None:
        """Return a stage as its manifest has it, without looking at its other files; see :meth:`look`."""
        folder = self.folder(kind, stage_id)
        try:
            if not stat.S_ISDIR(os.stat(folder).st_mode):  # noqa: PTH116  # a plan asks for thousands
                return None
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise cannot_read(folder, error) from error
        try:
            return Record(kind, stage_id, folder, read_manifest(folder, kind, stage_id))
        except Unreadable as error:
            return Damage(kind, stage_id, folder, MANIFEST, "manifest", str(error))

    def find(self, kind: str, stage_id: str) -> Record | None:
        """Return a finished stage, or None; a damaged one counts as absent. See :meth:`look`."""
        seen = self.look(kind, stage_id)
        return None if isinstance(seen, Damage) else seen

    def open(self, kind: str, stage_id: str) -> Record:
        """Return a finished stage.

        Raises:
            StageError: there is none.
            CorruptError: it is damaged.
        """
        seen = self.look(kind, stage_id)
        if isinstance(seen, Damage):
            raise CorruptError(seen)
        if seen is None:
            raise StageError(f"the store has no finished {kind} stage {stage_id[:12]}", where=str(self.base))
        return seen

    def quarantine(self, damage: Damage) -> Path | None:
        """Move a damaged stage out of the way, so that it can be rebuilt; return where to.

        None where nothing was moved: it is whole again, as another run has rebuilt it meanwhile, or the operating
        system does not let it be moved.
        """
        seen = self.look(damage.kind, damage.id)
        if seen is None or (isinstance(seen, Record) and not any(problem.spoils for problem in seen.damages())):
            return None
        aside = self.base / ".corrupt" / f"{damage.kind}-{damage.id}-{uuid.uuid4().hex[:8]}"
        with contextlib.suppress(OSError):
            disk.make_folders(aside.parent)
            disk.rename(self.folder(damage.kind, damage.id), aside)
            return aside
        return None

    def kinds(self) -> list[str]:
        """Return the kinds of stages that there are."""
        if not self.base.is_dir():
            return []
        return sorted(
            path.name
            for path in self.base.iterdir()
            if path.is_dir() and not path.name.startswith(".") and path.name != CACHE
        )

    def ids(self, kind: str) -> list[str]:
        """Return the ids of all stages of a kind, whole or damaged."""
        folder = self.base / kind
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    def records(self, kind: str) -> Iterator[Record]:
        """Return every finished stage of a kind, by id; damaged ones are left out."""
        for stage_id in self.ids(kind):
            record = self.find(kind, stage_id)
            if record is not None:
                yield record

    @contextlib.contextmanager
    def draft(self, kind: str, stage_id: str) -> Iterator[Draft]:
        """Give a folder of its own to write a stage into; what is not committed is removed.

        Raises:
            MachineError: the folder cannot be made, or the disk is full, whoever wrote to it.
        """
        folder = self.base / ".drafts" / f"{kind}-{stage_id[:16]}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        with contextlib.ExitStack() as stack:
            with machine_errors(folder):
                disk.make_folders(folder.parent)
                stack.enter_context(owned(folder.with_name(f"{folder.name}{SUFFIX}")))
                disk.make_folder(folder)
            try:
                yield Draft(kind, stage_id, folder, self.folder(kind, stage_id))
            except MachineError:
                raise
            except Exception as error:
                number = exhausted(error)
                if number is not None:
                    raise cannot_write(self.base, OSError(number, os.strerror(number))) from error
                raise
            finally:
                disk.remove_tree(folder)

    def commit(
        self,
        draft: Draft,
        *,
        config: Mapping[str, Any],
        environment: Mapping[str, Any],
        label: str,
        measured: Iterable[str] = (),
        replace: bool = False,
    ) -> Record:
        """Make a draft visible, as a whole.

        Args:
            draft: see :meth:`draft`; all its files are written.
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
        draft.write_json(CONFIG, config)
        draft.write_json(ENVIRONMENT, environment)
        if self.warned:  # which process was first to load a model decides who warns: no part of the result
            draft.write_json(WARNINGS, list(self.warned))
            measured = (*measured, WARNINGS)
        if self.ran is not None:
            draft.write_json(RAN, self.ran)
            measured = (*measured, RAN)
        manifest = draft.seal(label, plugins=self.plugins, measured={*measured, ENVIRONMENT})
        with machine_errors(draft.target):
            disk.make_folders(draft.target.parent)
            record = self._place(draft, manifest, environment, replace=replace)
            disk.sync(draft.target.parent)
        return record

    def receive(self, draft: Draft, *, replace: bool = False) -> Record:
        """Make a draft visible that holds a whole stage, manifest included, which was made elsewhere.

        Raises:
            StageError: an earlier result of the same stage under the same environment differs, or it is not whole.
        """
        made = Record(draft.kind, draft.id, draft.folder, read_manifest(draft.folder, draft.kind, draft.id))
        made.verify()
        environment = made.json(ENVIRONMENT)
        with machine_errors(draft.target):
            disk.make_folders(draft.target.parent)
            record = self._place(draft, dict(made.manifest), environment, replace=replace)
            disk.sync(draft.target.parent)
        return record

    def _place(
        self, draft: Draft, manifest: dict[str, Any], environment: Mapping[str, Any], *, replace: bool
    ) -> Record:
        for _ in range(_TRIES):
            try:
                disk.rename(draft.folder, draft.target)
            except OSError as error:
                if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                    raise
            else:
                return Record(draft.kind, draft.id, draft.target, manifest)
            earlier = self.look(draft.kind, draft.id)
            if isinstance(earlier, Damage):
                self.quarantine(earlier)
            elif earlier is not None and replace:
                return _take_the_place(draft, earlier, manifest)
            elif earlier is not None:
                try:
                    earlier.verify()
                except CorruptError as error:
                    self.quarantine(error.damage)
                except StageError:  # files of it were pruned meanwhile
                    continue
                else:
                    return _join(draft, earlier, manifest, environment)
        raise MachineError("cannot put the finished stage into its place", where=str(draft.target))

    def prune(self, kind: str, stage_id: str, names: Iterable[str]) -> None:
        """Remove files (or folders of files) of a finished stage, and say so in its manifest first."""
        record = self.find(kind, stage_id)
        if record is None:
            return
        chosen = [
            file
            for file in files(record.manifest)
            if any(file == name or file.startswith(f"{name}/") for name in names)
        ]
        before = record.manifest.get("pruned", ())
        if chosen:
            manifest = seal({**record.manifest, "pruned": sorted({*before, *chosen})})
            replace_text(record.folder / MANIFEST, dump(manifest))
        else:
            disk.clear_unfinished(record.folder, MANIFEST)
        with machine_errors(record.folder):
            for name in (*before, *chosen):  # the earlier ones too: their removal may have been cut short
                disk.remove_file(record.folder / name, missing_ok=True)
                with contextlib.suppress(OSError):  # other files are left in one of them
                    for parent in PurePosixPath(name).parents[:-1]:
                        disk.remove_folder(record.folder / parent)

    def scratch(self, kind: str, stage_id: str) -> Path:
        """Return the folder in which a long stage keeps what it goes on from; it survives a stage that was stopped."""
        return self.base / ".unfinished" / f"{kind}-{stage_id}"

    def _sweep_unfinished(self) -> None:
        for folder in (self.base / ".unfinished").glob("*-*"):
            kind, _, stage_id = folder.name.partition(".")[0].partition("-")  # one being removed has a suffix
            try:
                seen = self.described(kind, stage_id)
            except (StageError, MachineError):  # whoever makes or reads the stage will tell
                continue
            done = isinstance(seen, Record) and not seen.manifest.get("pruned")
            with contextlib.suppress(OSError):
                if done or time.time() - folder.stat().st_mtime > _OLD_SECONDS:
                    disk.remove_tree(folder)

    def sweep(self) -> int:
        """Remove what ended processes have left: their drafts, and states and parts of stages that nobody goes on with.

        Those are the finished stages, and what has lain untouched for long: the settings or the code behind its id may
        have changed meanwhile. Return how many drafts there were.
        """
        self._sweep_unfinished()
        disk.clear_unfinished(self.base / ".drafts")
        removed = 0
        for mark in sorted((self.base / ".drafts").glob(f"*{SUFFIX}")):
            with abandoned(mark) as left:
                if left:
                    folder = mark.with_name(mark.name.removesuffix(SUFFIX))
                    for path in (folder, folder.with_name(f"{folder.name}.old")):
                        disk.remove_tree(path)
                    disk.remove_file(mark, missing_ok=True)
                    removed += 1
        return removed


def _join(draft: Draft, earlier: Record, manifest: dict[str, Any], environment: Mapping[str, Any]) -> Record:
    """Keep the earlier record, and give it back the files that were pruned."""
    differing = _differing(earlier.manifest, manifest)
    if differing and earlier.json(ENVIRONMENT) == environment:
        raise StageError(
            f"two runs of the same stage gave different {', '.join(differing)}",
            where=str(earlier.folder),
            hint="the first result is kept; please report it, because a stage must be deterministic",
        )
    gone = set(earlier.manifest.get("pruned", ()))
    back = sorted(gone & set(manifest["files"]))
    if not back:
        return earlier
    if differing:  # made on another machine: its checkpoint goes with its own log, not with the earlier one's
        return _take_the_place(draft, earlier, manifest)
    for name in back:  # until the manifest is replaced, nobody looks for them
        place = earlier.folder / name
        disk.make_folders(place.parent)
        disk.rename(draft.folder / name, place)
        disk.sync(place.parent)
    entries = {**earlier.manifest["files"], **{name: manifest["files"][name] for name in back}}
    whole = seal({**earlier.manifest, "files": entries, "pruned": sorted(gone - set(back))})
    replace_text(earlier.folder / MANIFEST, dump(whole))
    return Record(draft.kind, draft.id, earlier.folder, whole)


def _take_the_place(draft: Draft, earlier: Record, manifest: dict[str, Any]) -> Record:
    aside = draft.folder.with_name(f"{draft.folder.name}.old")
    disk.rename(earlier.folder, aside)
    disk.rename(draft.folder, earlier.folder)
    disk.remove_tree(aside)
    return Record(draft.kind, draft.id, earlier.folder, manifest)


def _differing(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> list[str]:
    """Return the files that two runs of a stage do not agree on; what was pruned is known by its digest."""
    measured = {*earlier["measured"], *later["measured"]}
    first, second = earlier["files"], files(later)
    return sorted(
        name
        for name in {*files(earlier), *second} - measured
        if name not in second or name not in first or first[name]["sha256"] != second[name]["sha256"]
    )
