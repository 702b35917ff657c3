"""A run's records in one file for others: what its tables are made from, without weights, paths and messages.

Everything is copied as it is stored, so that digests still hold; what is left out stands in a stage's manifest as
pruned. Without texts each different text is replaced by a number, so that who compares answers still sees which are
equal, and ``redacted`` in the stage's manifest names the files that were written anew.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.report.groups import group_column
from harness.report.publish import public_manifest
from harness.report.results import read_manifest
from harness.report.write import make_tables
from harness.spec.results.generate import Answer
from harness.spec.results.kinds import RESULTS
from harness.spec.results.rows import DataRow
from harness.store.bundle import pack
from harness.store.files import dump, seal, write_jsonl, write_text
from harness.store.manifest import MANIFEST
from harness.store.records import CONFIG, ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from harness.report.results import Results
    from harness.spec.results.run import RunManifest
    from harness.store.records import Record

#: Columns of the data that stay where texts do not: what kind a prompt is of.
_KINDS: Final = ("category", "task", "type")
#: Files that hold texts.
_TEXTS: Final = frozenset({Answer.file, DataRow.file})


def make_bundle(root: Path, folder: Path, target: Path, *, texts: bool = True) -> int:
    """Pack what a run's tables are made from; return how many files the bundle has.

    Args:
        root: the results.
        folder: those of the run.
        target: the file to write; the same records give the same bytes.
        texts: whether prompts, references and answers are in it.

    Raises:
        InputError: the store lacks something that the manifest names.
        CorruptError: a file is not what was written.
    """
    tables = make_tables(root, folder)
    results = tables.results
    with tempfile.TemporaryDirectory(prefix="harness-bundle-") as place:
        staged = Path(place)
        kept = _kept_columns(results)
        hide = None if texts else _Numbers()
        for kind, stage in sorted(results.shelf.asked):
            record = results.find(kind, stage)
            assert record is not None  # make_tables refuses what is missing
            _copy(record, staged / "store" / kind / stage, hide, kept)
        run = staged / folder.parent.name / folder.name
        run.mkdir(parents=True)
        manifest = _manifest(read_manifest(folder), root, texts=texts)
        write_text(run / manifest.file, dump(seal(manifest.to_json())))
        if (calculated := tables.files.get("calculated.json")) is not None:
            write_text(run / "calculated.json", calculated)
        make_tables(staged, run).write()  # of what is in the bundle, so that it holds what can be derived from it
        (run / "calculated.json").unlink(missing_ok=True)
        return pack(staged, target)


def _manifest(manifest: RunManifest, root: Path, *, texts: bool) -> RunManifest:
    public = public_manifest(manifest, root)
    return public if texts else public.model_copy(update={"tables": tuple(t for t in public.tables if t != "cases")})


def _kept_columns(results: Results) -> frozenset[str]:
    labels = [data.label for data in results.manifest.datasets if data.role != "train"]
    return frozenset({*_KINDS, *filter(None, (group_column(results, label) for label in labels))})


def _copy(record: Record, target: Path, hide: _Numbers | None, kept: Collection[str]) -> None:
    """Write a stage without what is no record; its manifest says what is not there, and what was written anew."""
    target.mkdir(parents=True)
    config = record.json(CONFIG)
    wanted = {CONFIG, ENVIRONMENT, *(part.file for part in RESULTS[config["kind"]])}
    names = [name for name in record.manifest["files"] if name in wanted and record.holds(name)]
    entries = dict(record.manifest["files"])
    redacted = []
    for name in names:
        content = record.path(name).read_bytes()
        if hide is not None and name in _TEXTS:
            hidden: Callable[[dict[str, Any]], dict[str, Any]] = (
                hide.answer if name == Answer.file else lambda row: hide.row(row, kept)
            )
            write_jsonl(target / name, map(hidden, record.jsonl(name)))
            content = (target / name).read_bytes()
            entries[name] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
            redacted.append(name)
        else:
            (target / name).write_bytes(content)
    pruned = sorted(set(entries) - set(names))
    more = {"redacted": redacted} if redacted else {}
    write_text(target / MANIFEST, dump(seal({**record.manifest, "files": entries, "pruned": pruned, **more})))


class _Numbers:
    """A number for each different text, in the order in which they come."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {"": ""}

    def of(self, text: str) -> str:
        return self._known.setdefault(text, f"text {len(self._known)}")

    def answer(self, line: dict[str, Any]) -> dict[str, Any]:
        return {**line, "text": self.of(line["text"])}

    def row(self, line: dict[str, Any], kept: Collection[str]) -> dict[str, Any]:
        return dict(self._row(line, kept))

    def _row(self, line: dict[str, Any], kept: Collection[str]) -> Iterator[tuple[str, Any]]:
        for name, value in line.items():
            if name in {"id", "label"}:
                yield name, value
            elif name in {"columns", "fields"}:
                yield name, {key: part if key in kept else self._hidden(part) for key, part in value.items()}
            else:
                yield name, self._hidden(value)

    def _hidden(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.of(value)
        if isinstance(value, dict):
            return {key: part if key == "role" else self._hidden(part) for key, part in value.items()}
        return [self._hidden(part) for part in value] if isinstance(value, list) else value
