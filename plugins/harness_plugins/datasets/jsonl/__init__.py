"""A data set of one's own: files of rows, with options that say which field is what."""

from __future__ import annotations

import hashlib
import json
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.api import DatasetRegistration, Example, InputError, Provenance, hookimpl, suggest
from harness_plugins.datasets.jsonl.fields import (
    Fields,
    JsonlOptions,
    fields_of,
    label_of,
    references_of,
    split_prompt,
)
from harness_plugins.datasets.jsonl.messages import read_conversation
from harness_plugins.upstream.forms import ENDINGS, read_rows
from harness_plugins.upstream.lines import present, text
from harness_plugins.upstream.local import check_exists, combined, content_sha256, listing, origin, unpack
from harness_plugins.upstream.saved import copy_saved, is_saved, saved_sha256, saved_splits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from harness.api import DataKind
    from harness_plugins.datasets.jsonl.messages import Conversational

_SPLITS: Final = ("train", "validation", "test")
#: The key of a file or saved data set that is every split; no split is called so.
_WHOLE: Final = "*"
#: What rewards are called with besides the columns.
_TAKEN: Final = frozenset({
    "prompts", "completions", "completion_ids", "references", "trainer_state", "log_extra", "log_metric",
    "reward_model",
})  # fmt: skip
#: How many of the rows that were left out a note names.
_NAMED: Final = 5


class Jsonl:
    """``path:`` names a file, which is every split, or a folder with ``SPLIT.jsonl`` for each.

    A file is JSON Lines, a JSON array (``.json``), CSV (``.csv``), Parquet (``.parquet``) or Arrow (``.arrow``), plain
    or gzip (``.gz``). A folder may also be what ``save_to_disk`` of Hugging Face's ``datasets`` wrote: a ``Dataset`` is
    every split, a ``DatasetDict`` has its own. Fields that no option names are columns, for rewards and metrics.
    """

    def __init__(self, options: JsonlOptions) -> None:
        """Keep the options."""
        self._options = options

    def identity(self, source: Path | None) -> Mapping[str, Any]:
        """Return the sha256 of the file or saved data set, or of each split's in the folder."""
        return {
            split: saved_sha256(path) if path.is_dir() else content_sha256(path)
            for split, path in _files(source).items()
        }

    def prepare(self, source: Path | None, folder: Path) -> Provenance:
        """Put the plain files, or copies of saved data sets, into ``folder``."""
        digests = {
            split: (copy_saved if path.is_dir() else unpack)(path, _place(folder, split))
            for split, path in _files(source).items()
        }
        return Provenance(origin="file", sha256=digests.get(_WHOLE) or combined(digests))

    def notes(self, folder: Path, split: str) -> tuple[str, ...]:
        """Say which rows :meth:`load` leaves out of a split because they are bad."""
        if self._options.bad_rows == "error":
            return ()
        path = _prepared(folder, split)
        skipped: list[InputError] = []
        kept = sum(1 for _ in self._examples(path, skipped.append))
        return (_skipped(skipped, kept, Path(origin(path)).name),) if skipped else ()

    def load(self, folder: Path, split: str) -> Iterator[Example]:
        """Yield a split's rows in the file's order."""
        return self._examples(_prepared(folder, split), None if self._options.bad_rows == "error" else lambda _: None)

    def _examples(self, path: Path, bad: Callable[[InputError], None] | None) -> Iterator[Example]:
        """Yield the rows of a file that can be used.

        Raises:
            InputError: what is wrong with a row, unless ``bad`` takes it; or that no row is left.
        """
        fields: Fields | None = None
        first: list[InputError] = []

        def note(error: InputError) -> None:
            first[:] = first or [error]
            assert bad is not None
            bad(error)

        seen = _Seen()
        count = 0
        for _, where, raw in read_rows(path, None if bad is None else note):
            try:
                row = read_conversation(raw, self._options, where)
                fields = fields or fields_of(self._options, row.row, where)
                example = self._example(row, fields, seen, where)
            except InputError as error:
                if bad is None:
                    raise
                note(error)
                continue
            count += 1
            yield example
        if not count and first:
            raise InputError(f"no row can be used; the first says: {first[0].what}", where=first[0].where,
                             got=first[0].got, expected=first[0].expected, hint=first[0].hint)  # fmt: skip

    def _example(self, read: Conversational, fields: Fields, seen: _Seen, where: str) -> Example:
        row, prompt = read.row, ""
        if fields.prompt is not None:
            prompt = text(row, fields.prompt, where, hint="the option `prompt:` names the field with the instruction")
        hint = "the option `completion:` names the field with the demonstration; null where there is none"
        completion = None if fields.completion is None else text(row, fields.completion, where, hint=hint)
        chosen = None if fields.chosen is None else text(row, fields.chosen, where)
        rejected = None if fields.rejected is None else text(row, fields.rejected, where)
        if fields.prompt is None and chosen is not None and rejected is not None:
            prompt, chosen, rejected = split_prompt(chosen, rejected, where)
        context = ""
        if fields.context is not None and present(row, fields.context, where) is not None:
            context = text(row, fields.context, where, empty=True)
        label = None if fields.labels is None else label_of(row, fields.labels, where)
        columns = {key: value for key, value in row.items() if key not in fields.used}
        if taken := sorted(_TAKEN & columns.keys()):
            raise InputError(
                f"a column cannot be called {taken[0]!r}: rewards are called with that name", where=where,
                hint="rename the field, or name it in an option of the data set (references: references)",
            )  # fmt: skip
        references = references_of(row, fields.references, where) if fields.references is not None else ()
        name = self._id(row, where, seen)
        seen.check(columns, where)
        return Example(
            id=name,
            fields=read.fields if read.turns else {"instruction": prompt, "prompt": prompt, "context": context},
            turns=read.turns,
            completion=completion,
            references=references or ((completion,) if completion is not None and label is not False else ()),
            chosen=chosen,
            rejected=rejected,
            columns=columns,
            label=label,
        )

    def _id(self, row: Mapping[str, Any], where: str, seen: _Seen) -> str:
        if self._options.id is not None:
            value = present(row, self._options.id, where)
            if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
                raise InputError("an id is a text or a whole number", where=where, got=value)
            name = str(value)
        else:
            # the same wherever the row stands; exact copies of a row are counted
            name = hashlib.sha256(json.dumps(row, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:20]
            seen.copies[name] = seen.copies.get(name, 0) + 1
            name = name if seen.copies[name] == 1 else f"{name}-{seen.copies[name]}"
        if seen.ids.setdefault(name, where) != where:
            raise InputError(f"this id is in {seen.ids[name]} too", where=where, got=name)
        return name


class _Seen:
    """What the rows before have had: ids, copies, and what is in each column."""

    def __init__(self) -> None:
        self.ids: dict[str, str] = {}
        self.copies: dict[str, int] = {}
        self._types: dict[str, tuple[str, str]] = {}

    def check(self, columns: Mapping[str, Any], where: str) -> None:
        """Refuse a column that holds a text in one row and a number in another: rewards and metrics read it whole."""
        for name, value in columns.items():
            if value is None:
                continue
            kind = _JSON[type(value)]
            first_kind, first = self._types.setdefault(name, (kind, where))
            if first_kind != kind:
                raise InputError(
                    f"the column {name!r} holds a {first_kind} in {first} and a {kind} here", where=where, got=value,
                    expected="one type of value in a column, or null",
                )  # fmt: skip


_JSON: Final = {
    str: "text", bool: "true or false", int: "number", float: "number", list: "list", dict: "mapping",
}  # fmt: skip


def _place(folder: Path, split: str) -> Path:
    """Return where a prepared folder has a split's rows."""
    return folder / ("whole.rows" if split == _WHOLE else f"split-{split}.rows")


def _prepared(folder: Path, split: str) -> Path:
    """Return the file, or the saved data set, that has a split's rows."""
    whole = _place(folder, _WHOLE)
    if whole.exists() and split in _SPLITS:
        return whole
    there = {path.stem.removeprefix("split-"): path for path in sorted(folder.glob("split-*.rows"))}
    if split in there:
        return there[split]
    splits = tuple(there) or _SPLITS
    where = Path(origin(next(iter(there.values()), whole)))
    raise InputError(
        "no such split", where=str(where.parent if there else where), got=split,
        expected=f"one of {', '.join(splits)}", did_you_mean=suggest(split, splits),
    )  # fmt: skip


def _skipped(skipped: list[InputError], kept: int, name: str) -> str:
    """Say what was left out of a file, and where that stood."""
    places = [f"{(error.where or '').rpartition('/')[2]} ({error.what})" for error in skipped[:_NAMED]]
    more = f" and {len(skipped) - _NAMED} more" if len(skipped) > _NAMED else ""
    return f"{name}: {len(skipped)} of {kept + len(skipped)} rows left out as bad: {'; '.join(places)}{more}"


def kind_of(options: JsonlOptions, source: Path | None, split: str) -> DataKind | None:
    """Return what the rows of a split are; None where that cannot be read, which the stage will say."""
    if (kind := options.declared()) is not None or source is None:
        return kind
    files = _files(source)
    path = files.get(_WHOLE) or files.get(split)
    if path is None:
        return None
    first = _first(path, options.bad_rows == "skip", *_state(path))
    if first is None:
        return None
    where, row = first
    return fields_of(options, read_conversation(row, options, where).row, where).kind


def splits_of(_options: JsonlOptions, source: Path | None) -> tuple[str, ...]:
    """Return the splits that the user's path has; all three where one file is every split."""
    files = {} if source is None else _files(source)
    return _SPLITS if not files or _WHOLE in files else tuple(files)


def _state(path: Path) -> tuple[int, int, int]:
    state = (path / "state.json" if path.is_dir() else path).stat()
    return state.st_size, state.st_mtime_ns, state.st_ino


@lru_cache(maxsize=64)
def _first(path: Path, skip: bool, *_state: int) -> tuple[str, dict[str, Any]] | None:  # noqa: FBT001  # cached
    """Return the first row that can be read of a file or saved data set, with where it stands."""
    with tempfile.TemporaryDirectory() as folder:
        plain = path
        if path.is_file() and _is_packed(path):
            plain = _place(Path(folder), _WHOLE)
            unpack(path, plain)
        for _, where, row in read_rows(plain, (lambda _: None) if skip else None):
            return where, row
    return None


def _is_packed(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


def _files(source: Path | None) -> dict[str, Path]:
    """Return the user's files, or folders of saved data sets, by split; what is every split is ``_WHOLE``."""
    if source is None:
        raise InputError(
            "the data set 'jsonl' needs a file or folder of yours", expected="path:", hint="or -o sources.jsonl=PATH"
        )
    check_exists(source, dataset="jsonl")
    if source.is_file() or is_saved(source):
        return {_WHOLE: source}
    if (splits := saved_splits(source)) is not None:
        return splits
    files: dict[str, Path] = {}
    for split in _SPLITS:
        for path in (source / f"{split}{ending}{packed}" for ending in ENDINGS for packed in ("", ".gz")):
            if split in files and path.is_file():
                raise InputError(
                    f"this split is here twice, as {files[split].name} and {path.name}", where=str(source), got=split,
                )  # fmt: skip
            if path.is_file():
                files[split] = path
    if not files:
        raise InputError(
            "this folder has no file of a split, and is not a saved data set", where=str(source), got=listing(source),
            expected=" or ".join(f"{split}.jsonl[.gz]" for split in _SPLITS),
            hint=f"or with the ending {', '.join(ENDINGS[1:])}; or a folder that save_to_disk of `datasets` wrote",
        )  # fmt: skip
    return files


@hookimpl
def harness_register_datasets() -> Iterable[DatasetRegistration]:
    """Offer ``jsonl``."""
    return [
        DatasetRegistration(
            name="jsonl",
            summary="your own files (JSON Lines, JSON, CSV, Parquet, Arrow) or a folder of `save_to_disk`, with options"
            " that say which field is what",
            build="harness_plugins.datasets.jsonl:Jsonl",
            options=JsonlOptions,
            kind_of=kind_of,
            splits_of=splits_of,
            splits=_SPLITS,
            licence="yours",
        )
    ]
