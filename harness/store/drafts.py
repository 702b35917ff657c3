"""A stage being written: a folder of its own, which becomes visible when the store commits it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness import disk
from harness.store.files import machine_errors, seal, write_json, write_jsonl
from harness.store.identity import file_digest
from harness.store.manifest import FORMAT, MANIFEST

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from harness.spec.results.base import ResultFile, ResultLine


@dataclass(frozen=True)
class Draft:
    """A stage being written; see :meth:`harness.store.stages.Store.draft`."""

    kind: str
    id: str
    folder: Path
    """Where it is written."""
    target: Path
    """Where it will lie."""

    def write(self, result: ResultFile) -> None:
        """Write one of the stage's files."""
        self.write_json(result.file, result.to_json())

    def write_lines(self, kind: type[ResultLine], lines: Iterable[ResultLine]) -> int:
        """Write one of the stage's files of lines; return how many there are."""
        return self.write_jsonl(kind.file, (line.to_json() for line in lines))

    def write_json(self, name: str, value: Any) -> None:
        """Write one JSON value into the draft."""
        write_json(self.folder / name, value)

    def write_jsonl(self, name: str, rows: Iterable[Mapping[str, Any]]) -> int:
        """Write JSON Lines into the draft; return how many."""
        return write_jsonl(self.folder / name, rows)

    def seal(self, label: str, *, plugins: Iterable[Mapping[str, Any]], measured: Iterable[str]) -> dict[str, Any]:
        """Sync every file, write the manifest last and return it.

        Args:
            label: what people call the stage.
            plugins: what it was made by.
            measured: files that may differ between two equal runs.
        """
        with machine_errors(self.folder):
            below = sorted(self.folder.rglob("*"))
            entries = {
                path.relative_to(self.folder).as_posix(): {"sha256": file_digest(path), "size": path.stat().st_size}
                for path in below
                if path.is_file()
            }
            for path in reversed(below):  # what is in a folder, then the folder
                disk.sync(path)
        manifest = seal(
            {
                "format": FORMAT,
                "kind": self.kind,
                "id": self.id,
                "label": label,
                "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
                "plugins": [dict(plugin) for plugin in plugins],
                "measured": sorted(measured),
                "files": entries,
            }
        )
        self.write_json(MANIFEST, manifest)
        with machine_errors(self.folder):
            disk.sync(self.folder / MANIFEST)
            disk.sync(self.folder)
        return manifest
