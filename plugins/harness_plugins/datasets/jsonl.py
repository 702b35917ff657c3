"""A data set of one's own: JSON Lines files, with options that say which field is what."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from harness.api import DatasetRegistration, Example, InputError, Options, Provenance, hookimpl
from harness_plugins.datasets.upstream import content_sha256, find, read_lines, text, unpack

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path


class JsonlOptions(Options):
    """Which field of a line is what; TRL's names are the defaults."""

    prompt: str = "prompt"
    """Field with the instruction; templates name it ``instruction``."""
    context: str | None = None
    """Field with the material that the instruction is about; may be empty."""
    completion: str | None = "completion"
    """Field with the demonstration; null where there is none."""
    references: str | None = None
    """Field with one answer or a list of answers to compare with; the demonstration where null."""
    chosen: str | None = None
    """Field with the preferred answer."""
    rejected: str | None = None
    """Field with the other answer."""
    id: str | None = None
    """Field with an id that is unique in the split; an id from the content where null."""


class Jsonl:
    """``path:`` names a file, which is every split, or a folder with ``SPLIT.jsonl`` or ``SPLIT.jsonl.gz`` for each."""

    def __init__(self, options: JsonlOptions) -> None:
        """Keep the options."""
        self._options = options

    def identity(self, source: Path | None) -> Mapping[str, Any]:
        """Return the sha256 of the file, or of each file in the folder."""
        path = _required(source)
        if path.is_file():
            return {"sha256": content_sha256(path)}
        return {file.name.removesuffix(".gz"): content_sha256(file) for file in _files(path)}

    def prepare(self, source: Path | None, folder: Path) -> Provenance:
        """Put the plain files into ``folder``."""
        path = _required(source)
        if path.is_file():
            return Provenance(origin="file", sha256=unpack(path, folder / "all.jsonl"))
        digests = {}
        for file in _files(path):
            name = file.name.removesuffix(".gz")
            digests[name] = unpack(file, folder / name)
        whole = hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()
        return Provenance(origin="file", sha256=whole)

    def load(self, folder: Path, split: str) -> Iterator[Example]:
        """Yield a split's rows in the file's order."""
        whole = folder / "all.jsonl"
        path = whole if whole.is_file() else find(folder, [f"{split}.jsonl"], dataset="jsonl")
        name = "the file" if path == whole else path.name
        for number, row in read_lines(path, name):
            yield self._example(row, f"{name}:{number}")

    def _example(self, row: Mapping[str, Any], where: str) -> Example:
        options = self._options
        used = {options.prompt, options.context, options.completion, options.references}
        used |= {options.chosen, options.rejected, options.id}
        prompt = text(row, options.prompt, where)
        context = text(row, options.context, where, empty=True) if options.context else ""
        completion = text(row, options.completion, where) if options.completion else None
        references = _references(row, options.references, where) if options.references else ()
        identity = str(row[options.id]) if options.id and options.id in row else None
        if options.id and identity is None:
            raise InputError(f"the field {options.id!r} is missing", where=where)
        return Example(
            id=identity or _content_id(row),
            fields={"instruction": prompt, "prompt": prompt, "context": context},
            completion=completion,
            references=references or ((completion,) if completion is not None else ()),
            chosen=text(row, options.chosen, where) if options.chosen else None,
            rejected=text(row, options.rejected, where) if options.rejected else None,
            columns={name: value for name, value in row.items() if name not in used},
        )


def _required(source: Path | None) -> Path:
    if source is None:
        raise InputError(
            "the data set 'jsonl' needs a file or folder of yours", expected="path:", hint="or -o sources.jsonl=PATH"
        )
    if not source.exists():
        raise InputError("no such file or folder for data set 'jsonl'", where=str(source))
    return source


def _files(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.iterdir() if path.name.endswith((".jsonl", ".jsonl.gz")))
    if not files:
        raise InputError("this folder has no file SPLIT.jsonl or SPLIT.jsonl.gz", where=str(folder))
    return files


def _references(row: Mapping[str, Any], field: str, where: str) -> tuple[str, ...]:
    value = row.get(field)
    if isinstance(value, str):
        return (text(row, field, where),)
    if isinstance(value, list) and value and all(isinstance(item, str) and item.strip() for item in value):
        return tuple(value)
    raise InputError(f"the field {field!r} is neither a text nor a list of texts", where=where, got=value)


def _content_id(row: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(row, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:20]


@hookimpl
def harness_register_datasets() -> Iterable[DatasetRegistration]:
    """Offer ``jsonl``."""
    return [
        DatasetRegistration(
            name="jsonl",
            summary="your own JSON Lines, with options that say which field is what",
            build="harness_plugins.datasets.jsonl:Jsonl",
            options=JsonlOptions,
            licence="yours",
            modules=("harness_plugins.datasets.upstream",),
        )
    ]
