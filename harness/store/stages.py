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
import shutil
import uuid
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from harness.errors import MachineError, StageError
from harness.store.drafts import Draft
from harness.store.files import cannot_write, dump, machine_errors, replace_text
from harness.store.manifest import MANIFEST, cannot_read, files, read_manifest, sizes_agree
from harness.store.owners import SUFFIX, abandoned, owned
from harness.store.records import Record, set_aside

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

#: What the system says when a disk is full; libraries that write by themselves pass its words on.
_FULL = {errno.ENOSPC, errno.EDQUOT}


class Store:
    """All finished stages below one folder."""

    def __init__(self, root: Path, *, warned: Sequence[str] = ()) -> None:
        """Open the store below ``root`` (``results/``); nothing is created before the first draft.

        What ``warned`` holds when a draft is committed is kept in the record.
        """
        self.root = root
        self.warned = warned
        self.base = root / "store"

    def folder(self, kind: str, stage_id: str) -> Path:
        """Return where a stage lies, or would lie."""
        return self.base / kind / stage_id

    def find(self, kind: str, stage_id: str) -> Record | None:
        """Return a finished stage, or None; a damaged one is moved aside and counts as absent.

        Raises:
            StageError: the stage was written in another format.
            MachineError: the operating system does not let it be read.
        """
        folder = self.folder(kind, stage_id)
        for _ in range(2):  # one that is just being replaced, or let go of, looks damaged once
            try:
                if not folder.is_dir():
                    return None
            except OSError as error:
                raise cannot_read(folder, error) from error
            manifest = read_manifest(folder, kind, stage_id)
            if manifest is not None and sizes_agree(folder, manifest):
                return Record(kind, stage_id, folder, manifest)
        set_aside(folder, kind, stage_id)
        return None

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
        """Give a folder of its own to write a stage into; what is not committed is removed.

        Raises:
            MachineError: the folder cannot be made, or the disk is full, whoever wrote to it.
        """
        folder = self.base / ".drafts" / f"{kind}-{stage_id[:16]}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        with contextlib.ExitStack() as stack:
            with machine_errors(folder):
                folder.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(owned(folder.with_name(f"{folder.name}{SUFFIX}")))
                folder.mkdir()
            try:
                yield Draft(self, kind, stage_id, folder)
            except MachineError:
                raise
            except Exception as error:
                if _is_full(error):
                    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    raise cannot_write(self.base, full) from error
                raise
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def let_go(self, kind: str, stage_id: str, names: Iterable[str]) -> None:
        """Remove files (or folders of files) of a finished stage, and say so in its manifest first."""
        record = self.find(kind, stage_id)
        if record is None:
            return
        chosen = [
            known
            for known in files(record.manifest)
            if any(known == name or known.startswith(f"{name}/") for name in names)
        ]
        before = record.manifest.get("let_go", ())
        if chosen:
            manifest = {**record.manifest, "let_go": sorted({*before, *chosen})}
            replace_text(record.folder / MANIFEST, dump(manifest))
        with machine_errors(record.folder):
            for name in (*before, *chosen):  # the earlier ones too: their removal may have been cut short
                (record.folder / name).unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # other files are left in one of them
                    for parent in PurePosixPath(name).parents[:-1]:
                        (record.folder / parent).rmdir()

    def scratch(self, kind: str, stage_id: str) -> Path:
        """Return the folder in which a long stage keeps what it goes on from; it survives a stage that was stopped."""
        return self.base / ".unfinished" / f"{kind}-{stage_id}"

    def sweep(self) -> int:
        """Remove drafts whose process has ended; return how many."""
        removed = 0
        for mark in sorted((self.base / ".drafts").glob(f"*{SUFFIX}")):
            with abandoned(mark) as left:
                if left:
                    folder = mark.with_name(mark.name.removesuffix(SUFFIX))
                    for path in (folder, folder.with_name(f"{folder.name}.old")):
                        shutil.rmtree(path, ignore_errors=True)
                    mark.unlink(missing_ok=True)
                    removed += 1
        return removed


def _is_full(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in _FULL
    return os.strerror(errno.ENOSPC) in str(error)  # safetensors and tokenizers raise errors of their own
