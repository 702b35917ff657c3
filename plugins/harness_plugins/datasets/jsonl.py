"""A data set of one's own: JSON Lines files, with options that say which field is what."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final, Self

from pydantic import model_validator

from harness.api import DatasetRegistration, Example, InputError, Options, Provenance, hookimpl
from harness_plugins.upstream.lines import present, read_lines, text
from harness_plugins.upstream.local import check_exists, combined, content_sha256, listing, unpack

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

_SPLITS: Final = ("train", "validation", "test")
#: What rewards are called with besides the columns.
_TAKEN: Final = frozenset({
    "prompts", "completions", "completion_ids", "references", "trainer_state", "log_extra", "log_metric",
})  # fmt: skip


class JsonlOptions(Options):
    """Which field of a line is what; TRL's names are the defaults."""

    prompt: str = "prompt"
    """Field with the instruction; templates name it ``instruction`` or ``prompt``."""
    context: str | None = None
    """Field with the material that the instruction is about; may be empty or null."""
    completion: str | None = "completion"
    """Field with the demonstration; null where there is none."""
    references: str | None = None
    """Field with one answer or a list of answers to compare with; the demonstration where null."""
    chosen: str | None = None
    """Field with the preferred answer; needs ``rejected``."""
    rejected: str | None = None
    """Field with the other answer; needs ``chosen``."""
    id: str | None = None
    """Field with an id that is unique in the split; an id from the content where null."""

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        if (self.chosen is None) != (self.rejected is None):
            raise ValueError("chosen and rejected go together")
        return self


class Jsonl:
    """``path:`` names a file, which is every split, or a folder with ``SPLIT.jsonl`` or ``SPLIT.jsonl.gz`` for each.

    Fields that no option names are columns, for rewards and metrics.
    """

    def __init__(self, options: JsonlOptions) -> None:
        """Keep the options."""
        self._options = options
        named = (options.prompt, options.context, options.completion, options.references)
        self._used = {*named, options.chosen, options.rejected, options.id}

    def identity(self, source: Path | None) -> Mapping[str, Any]:
        """Return the sha256 of the file, or of each split's file in the folder."""
        return {split: content_sha256(path) for split, path in _files(source).items()}

    def prepare(self, source: Path | None, folder: Path) -> Provenance:
        """Put the plain files into ``folder``."""
        digests = {split: unpack(path, folder / f"{split}.jsonl") for split, path in _files(source).items()}
        return Provenance(origin="file", sha256=digests.get("all") or combined(digests))

    def load(self, folder: Path, split: str) -> Iterator[Example]:
        """Yield a split's rows in the file's order."""
        if split not in _SPLITS:
            raise InputError("jsonl has no such split", got=split, expected=", ".join(_SPLITS))
        path = next((p for p in (folder / "all.jsonl", folder / f"{split}.jsonl") if p.is_file()), None)
        if path is None:
            there = ", ".join(sorted(p.name for p in folder.glob("*.jsonl")))
            raise InputError(
                f"the folder has no file for the split {split!r}", got=there, expected=f"{split}.jsonl[.gz]"
            )
        lines: dict[str, str] = {}
        copies: dict[str, int] = {}
        for _, where, row in read_lines(path):
            name = self._id(row, where, copies)
            if lines.setdefault(name, where) != where:
                raise InputError(f"this id stands in {lines[name]} too", where=where, got=name)
            yield self._example(row, name, where)

    def _example(self, row: Mapping[str, Any], name: str, where: str) -> Example:
        options = self._options
        prompt = text(row, options.prompt, where, hint="the option `prompt:` names the field with the instruction")
        context = ""
        if options.context is not None and present(row, options.context, where) is not None:
            context = text(row, options.context, where, empty=True)
        completion = None
        if options.completion is not None:
            hint = "the option `completion:` names the field with the demonstration; null where there is none"
            completion = text(row, options.completion, where, hint=hint)
        columns = {key: value for key, value in row.items() if key not in self._used}
        if taken := sorted(_TAKEN & columns.keys()):
            raise InputError(
                f"a column cannot be called {taken[0]!r}: rewards are called with that name", where=where,
                hint="rename the field, or name it in an option of the data set (references: references)",
            )  # fmt: skip
        references = _references(row, options.references, where) if options.references is not None else ()
        return Example(
            id=name,
            fields={"instruction": prompt, "prompt": prompt, "context": context},
            completion=completion,
            references=references or ((completion,) if completion is not None else ()),
            chosen=None if options.chosen is None else text(row, options.chosen, where),
            rejected=None if options.rejected is None else text(row, options.rejected, where),
            columns=columns,
        )

    def _id(self, row: Mapping[str, Any], where: str, copies: dict[str, int]) -> str:
        if self._options.id is not None:
            value = present(row, self._options.id, where)
            if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
                raise InputError("an id is a text or a whole number", where=where, got=value)
            return str(value)
        # the same wherever the row stands; exact copies of a row are counted
        name = hashlib.sha256(json.dumps(row, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:20]
        copies[name] = copies.get(name, 0) + 1
        return name if copies[name] == 1 else f"{name}-{copies[name]}"


def _files(source: Path | None) -> dict[str, Path]:
    """Return the user's files by split; one file is ``all``."""
    if source is None:
        raise InputError(
            "the data set 'jsonl' needs a file or folder of yours", expected="path:", hint="or -o sources.jsonl=PATH"
        )
    check_exists(source, dataset="jsonl")
    if source.is_file():
        return {"all": source}
    found = {}
    for split in _SPLITS:
        for path in (source / f"{split}.jsonl", source / f"{split}.jsonl.gz"):
            if split in found and path.is_file():
                raise InputError("this split stands here twice, plain and gzip", where=str(source), got=split)
            if path.is_file():
                found[split] = path
    if not found:
        raise InputError(
            "this folder has no file of a split", where=str(source), got=listing(source),
            expected=" or ".join(f"{split}.jsonl[.gz]" for split in _SPLITS),
        )  # fmt: skip
    return found


def _references(row: Mapping[str, Any], field: str, where: str) -> tuple[str, ...]:
    value = present(row, field, where)
    if isinstance(value, str) and value.strip():
        return (value,)
    if isinstance(value, list) and value and all(isinstance(item, str) and item.strip() for item in value):
        return tuple(value)
    raise InputError(f"the field {field!r} is neither a text nor a list of texts", where=where, got=value)


@hookimpl
def harness_register_datasets() -> Iterable[DatasetRegistration]:
    """Offer ``jsonl``."""
    return [
        DatasetRegistration(
            name="jsonl",
            summary="your own JSON Lines, with options that say which field is what",
            build="harness_plugins.datasets.jsonl:Jsonl",
            options=JsonlOptions,
            splits=_SPLITS,
            licence="yours",
        )
    ]
