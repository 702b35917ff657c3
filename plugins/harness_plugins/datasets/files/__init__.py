"""A data set of one's own: files of rows, with options that say which column is what."""

from __future__ import annotations

import tempfile
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.api import DatasetRegistration, Example, InputError, Provenance, hookimpl, suggest
from harness_plugins.datasets.files.examples import Tally, examples
from harness_plugins.datasets.files.fields import Columns, FilesOptions, fields_of
from harness_plugins.datasets.files.messages import read_conversation
from harness_plugins.datasets.files.sketch import share_of, sketched
from harness_plugins.upstream.forms import ENDINGS, read_rows
from harness_plugins.upstream.local import (
    PACKED,
    check_exists,
    combined,
    content_sha256,
    is_packed,
    listing,
    origin,
    unpack,
    unpack_beginning,
)
from harness_plugins.upstream.saved import copy_saved, is_saved, saved_sha256, saved_splits

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from harness.api import DataKind
    from harness_plugins.upstream.lines import Line

_SPLITS: Final = ("train", "validation", "test")
#: The key of a file or saved data set that is every split; no split is called so.
_WHOLE: Final = "*"
#: How many rows a first look reads.
_LOOK: Final = 10_000


class Files:
    """``path:`` names a file, which is every split, or a folder with ``SPLIT.jsonl`` for each.

    A file is JSON Lines, a JSON array (``.json``), CSV (``.csv``, ``.tsv``), Parquet (``.parquet``) or Arrow
    (``.arrow``), plain, gzip (``.gz``) or Zstandard (``.zst``). A folder may also be what ``save_to_disk`` of Hugging
    Face's ``datasets`` wrote: a ``Dataset`` is every split, a ``DatasetDict`` has its own. With ``holdout`` rows are
    taken from one of them for the test and validation. Columns that no option names are handed to rewards and metrics.
    """

    def __init__(self, options: FilesOptions) -> None:
        """Keep the options."""
        self._options = options
        self._tallies: dict[tuple[Path, str], Tally] = {}

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
        """Say what is held out, and which rows :meth:`load` left out because they are bad, as far as it has read."""
        path, cut = self._file(folder, split)
        name = Path(origin(path)).name
        notes = []
        if cut and self._options.holdout is not None:
            notes.append(f"{name}: {self._options.holdout.note(split)}")
        if self._options.bad_rows == "skip":
            if (folder, split) not in self._tallies:
                for _ in self.load(folder, split):
                    pass
            notes.append(self._tallies[folder, split].note(name) or "")
        return tuple(filter(None, notes))

    def load(self, folder: Path, split: str) -> Iterator[Example]:
        """Yield a split's rows in the file's order."""
        path, cut = self._file(folder, split)
        options = self._options if cut else self._options.model_copy(update={"holdout": None})
        tally = self._tallies[folder, split] = Tally()
        return examples(lambda bad: read_rows(path, bad, options.drop), options, split, tally)

    def skipped(self, folder: Path, split: str) -> int:
        """Return how many bad rows :meth:`load` has left out of a split."""
        return self._tallies[folder, split].skipped

    def _file(self, folder: Path, split: str) -> tuple[Path, bool]:
        """Return the file, or saved data set, that has a split's rows, and whether others are held out of it."""
        whole = _place(folder, _WHOLE)
        names = {path.stem.removeprefix("split-"): path for path in sorted(folder.glob("split-*.rows"))}
        there = {_WHOLE: whole} if whole.exists() else names
        holdout = self._options.holdout
        where = str(Path(origin(whole)) if whole.exists() else Path(origin(next(iter(there.values()), whole))).parent)
        splits = _splits(self._options, there, where)
        if split not in splits or not there:
            raise InputError(
                "no such split", where=where, got=split, expected=f"one of {', '.join(splits)}",
                did_you_mean=suggest(split, splits),
            )  # fmt: skip
        cut = holdout is not None and split in {holdout.of, *holdout.names()}
        taken_from = holdout.of if holdout is not None and cut else split
        return (whole if _WHOLE in there else there[taken_from]), cut


def _splits(options: FilesOptions, files: Mapping[str, Path], where: str) -> tuple[str, ...]:
    """Return the splits of some files, those that rows are held out for included.

    Raises:
        InputError: they are there already, or what they are taken from is not.
    """
    holdout = options.holdout
    if holdout is None:
        return _SPLITS if _WHOLE in files or not files else tuple(files)
    if _WHOLE in files or not files:
        return (holdout.of, *holdout.names())
    return holdout.splits(files, where)


def _place(folder: Path, split: str) -> Path:
    """Return where a prepared folder has a split's rows."""
    return folder / ("whole.rows" if split == _WHOLE else f"split-{split}.rows")


def kind_of(options: FilesOptions, source: Path | None, split: str) -> DataKind | None:
    """Return what the rows of a split are; None where that cannot be read, which the stage will say."""
    if source is None:
        return options.declared()
    files = _files(source)
    holdout = options.holdout
    taken_from = holdout.of if holdout is not None and split in holdout.names() else split
    path = files.get(_WHOLE) or files.get(taken_from)
    if path is None:
        return options.declared()
    skip = options.bad_rows == "skip"
    if skip and (kind := options.declared()) is not None:
        return kind
    first = _first(path, skip, options.drop, *_state(path))
    if first is None:
        return options.declared()
    try:
        row = read_conversation(first.row, options.columns, first.where).row
    except InputError:
        if not skip:
            raise
        return options.declared()
    fields = fields_of(options, row, first.where)
    if not skip:  # a name that is misspelt is seen before anything is prepared
        fields.check(row, first.where)
        if holdout is not None:
            holdout.check(first.row, first.where)
    return fields.kind


def splits_of(options: FilesOptions, source: Path | None) -> tuple[str, ...]:
    """Return the splits that the user's path has; all three where one file is every split."""
    return _splits(options, {} if source is None else _files(source), str(source))


def _state(path: Path) -> tuple[int, int, int]:
    state = (path / "state.json" if path.is_dir() else path).stat()
    return state.st_size, state.st_mtime_ns, state.st_ino


@lru_cache(maxsize=64)
def _first(path: Path, skip: bool, drop: tuple[str, ...], *_state: int) -> Line | None:  # noqa: FBT001  # cached
    """Return the first row that can be read of a file or saved data set."""

    def read(plain: Path) -> Line | None:
        return next(iter(read_rows(plain, (lambda _: None) if skip else None, drop)), None)

    if path.is_dir() or not is_packed(path):
        return read(path)
    with tempfile.TemporaryDirectory() as folder:
        plain = _place(Path(folder), _WHOLE)
        if not unpack_beginning(path, plain):  # the rest may be large, and a row need not be
            try:
                if (line := read(plain)) is not None:
                    return line
            except InputError:  # of a row that is cut, or a form that is read from its end
                pass
            unpack(path, plain)
        return read(plain)


def _files(source: Path | None) -> dict[str, Path]:
    """Return the user's files, or folders of saved data sets, by split; what is every split is ``_WHOLE``."""
    if source is None:
        raise InputError(
            "the data set 'files' needs a file or folder of yours", expected="path:", hint="or -o sources.files=PATH"
        )
    check_exists(source, dataset="files")
    if source.is_file() or is_saved(source):
        return {_WHOLE: source}
    if (splits := saved_splits(source)) is not None:
        return splits
    files: dict[str, Path] = {}
    for split in _SPLITS:
        for path in (source / f"{split}{ending}{packed}" for ending in ENDINGS for packed in ("", *PACKED)):
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


def sketch(source: Path) -> dict[str, Any]:
    """Return the options that a path would be read with, by the names of its columns and its first rows.

    Raises:
        InputError: it cannot be read, no column looks like a prompt, or no row can be used.
    """
    files = _files(source)
    path = files.get(_WHOLE) or next(iter(files.values()))
    line = _first(path, False, (), *_state(path))  # cached by position
    assert line is not None
    options = sketched(read_conversation(line.row, Columns(), line.where).row, line.where)
    checked = FilesOptions(**options, bad_rows="skip")
    data = Files(checked)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data.prepare(source, folder)
        split = next(iter(_splits(checked, files, str(source))))
        rows = list(islice(data.load(folder, split), _LOOK))
    if data.skipped(folder, split):
        options["bad_rows"] = "skip"
    if _WHOLE in files and (share := share_of(rows)) is not None:
        options["holdout"] = {"test": share}
    return options


@hookimpl
def harness_register_datasets() -> Iterable[DatasetRegistration]:
    """Offer ``files``."""
    return [
        DatasetRegistration(
            name="files",
            summary="your own files (JSON Lines, JSON, CSV, Parquet, Arrow) or a folder of `save_to_disk`, with options"
            " that say which column is what",
            build="harness_plugins.datasets.files:Files",
            options=FilesOptions,
            kind_of=kind_of,
            sketch=sketch,
            splits_of=splits_of,
            splits=_SPLITS,
            licence="yours",
        )
    ]
