"""XSum: BBC articles, each with the sentence that introduces it as its summary (Narayan, Cohen and Lapata 2018)."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

from pydantic import Field, PositiveInt

from harness.api import DatasetRegistration, Example, InputError, Options, Provenance, hookimpl
from harness_plugins.upstream.lines import fold, read_lines, text
from harness_plugins.upstream.local import check_exists, combined, content_sha256, find, listing, unpack
from harness_plugins.upstream.remote import HubFile, fetch, identity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

_REPOSITORY: Final = "EdinburghNLP/xsum"
#: A commit of the hub at which the splits lie as one Parquet file each.
_COMMIT: Final = "7d4d486c2f8ef850b1a11aead99b894ff3dd7da9"
_SPLITS: Final = ("train", "validation", "test")
#: Of ten documents that are split anew, one goes to validation and two to the test.
_TENTHS: Final = {"validation": 1, "test": 2}
_DROPPED: Final = {
    "empty": "without a document or a summary",
    "repeated document": "whose document is in an earlier row",
    "repeated summary": "whose summary is in an earlier row",
}

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class XSumOptions(Options):
    """Which rows, and how much of each document."""

    resplit: tuple[Name, ...] = ()
    """Names of files in the folder that ``path:`` gives, without ``.jsonl``, such as ``[train, test]``: their rows are
    pooled and split anew by a hash of the document, one in ten for validation and two for the test. The tables then say
    so, and scores compare with no published ones."""
    words: PositiveInt | None = None
    """Keep the first words of each document, as many as this, in training and test alike: news says first what matters,
    while a template cuts on the left."""
    revision: str | None = None
    """Commit of the hub's repository; without it one that is known."""


class _Row(NamedTuple):
    """A row that is kept."""

    place: str
    """The file's name, or the split where the rows are split anew."""
    example: Example


class XSum:
    """A row is a document and its summary of one sentence.

    A document or a summary that is in an earlier row, case and white space folded, is left out, in the order test,
    validation, train (or of the files that are split anew), so that no document is in two splits.

    A ``path:`` is a folder with ``train.jsonl``, ``validation.jsonl`` and ``test.jsonl`` (one or more of them),
    plain or gzip, with the fields ``document``, ``summary`` and ``id``; or one such file, which is the test.
    """

    def __init__(self, options: XSumOptions) -> None:
        """Keep the options."""
        self._options = options

    def identity(self, source: Path | None) -> Mapping[str, Any]:
        """Return the sha256 of each file, or the revision."""
        if source is not None:
            return {name: {"sha256": content_sha256(path)} for name, path in self._paths(source).items()}
        self._check_no_resplit()
        return {split: dict(identity(_hub(split), self._options.revision or _COMMIT)) for split in _SPLITS}

    def prepare(self, source: Path | None, folder: Path) -> Provenance:
        """Put the files into ``folder`` as JSON Lines, and count what :meth:`load` will leave out."""
        if source is not None:
            digests = {name: unpack(path, folder / f"{name}.jsonl") for name, path in self._paths(source).items()}
            return Provenance(origin="file", sha256=combined(digests), notes=self._notes(folder))
        self._check_no_resplit()
        found = {}
        for split in _SPLITS:
            download = folder / f"{split}.parquet"
            found[split] = fetch(_hub(split), self._options.revision or _COMMIT, download, dataset="xsum")
            _as_lines(download, folder / f"{split}.jsonl")
            download.unlink()
        whole = combined({name: part.sha256 or "" for name, part in found.items()})
        return Provenance(origin=_REPOSITORY, revision=found["test"].revision, sha256=whole, notes=self._notes(folder))

    def load(self, folder: Path, split: str) -> Iterator[Example]:
        """Yield a split's rows in the order of the file, or of the files that are split anew."""
        if split not in _SPLITS:
            raise InputError("xsum has no such split", got=split, expected="train, validation or test")
        if not self._options.resplit and not (folder / f"{split}.jsonl").is_file():
            there = ", ".join(sorted(path.stem for path in folder.glob("*.jsonl")))
            raise InputError(
                f"xsum was given no file for the split {split!r}", got=there, expected=f"{split}.jsonl[.gz]",
                hint="the option `resplit:` makes three splits of the files that are there",
            )  # fmt: skip
        return (row.example for row in self._rows(folder, Counter()) if row.place == split)

    def _rows(self, folder: Path, counts: Counter[str]) -> Iterator[_Row]:
        """Yield every row that is kept; count the others by reason."""
        documents: set[bytes] = set()
        summaries: set[bytes] = set()
        for name in self._options.resplit or [s for s in reversed(_SPLITS) if (folder / f"{s}.jsonl").is_file()]:
            for number, where, row in read_lines(folder / f"{name}.jsonl"):
                counts["rows"] += 1
                document = text(row, "document", where, empty=True).strip()
                summary = text(row, "summary", where, empty=True).strip()
                place = _place(document) if self._options.resplit else name
                if self._options.words is not None:
                    document = _beginning(document, self._options.words)
                if reason := _reason(document, summary, documents, summaries):
                    counts[reason] += 1
                    continue
                counts[place] += 1
                yield _Row(place, _example(f"xsum-{name}-{number:06}", document, summary, row.get("id")))

    def _notes(self, folder: Path) -> tuple[str, ...]:
        counts: Counter[str] = Counter()
        for _ in self._rows(folder, counts):
            pass
        notes = []
        if self._options.resplit:
            sizes = ", ".join(f"{counts[split]} {split}" for split in _SPLITS)
            files = ", ".join(self._options.resplit)
            notes.append(f"not the published splits: the files {files} split anew by document ({sizes})")
        if self._options.words is not None:
            notes.append(f"the first {self._options.words} words of each document")
        dropped = [f"{counts[reason]} {words}" for reason, words in _DROPPED.items() if counts[reason]]
        notes.append(f"of {counts['rows']} rows left out: {', '.join(dropped) or 'none'}")
        return tuple(notes)

    def _paths(self, source: Path) -> dict[str, Path]:
        check_exists(source, dataset="xsum")
        if self._options.resplit:
            if source.is_file() and len(self._options.resplit) > 1:
                raise InputError(
                    "one file was given for data set 'xsum', and `resplit:` names several", where=str(source),
                    expected="a folder",
                )  # fmt: skip
            return {name: find(source, [f"{name}.jsonl"], dataset="xsum") for name in self._options.resplit}
        if source.is_file():
            return {"test": source}
        paths = {split: [source / f"{split}.jsonl", source / f"{split}.jsonl.gz"] for split in _SPLITS}
        files = {split: next((path for path in both if path.is_file()), None) for split, both in paths.items()}
        if not any(files.values()):
            raise InputError(
                "this folder has no file of data set 'xsum'", where=str(source), got=listing(source),
                expected="train.jsonl[.gz], validation.jsonl[.gz] or test.jsonl[.gz]",
            )  # fmt: skip
        return {split: path for split, path in files.items() if path is not None}

    def _check_no_resplit(self) -> None:
        if self._options.resplit:
            raise InputError(
                "xsum splits anew only what lies in a folder of yours", got="resplit without path",
                expected="path:", hint="or -o sources.xsum=FOLDER; the hub has splits of its own",
            )  # fmt: skip


def _example(name: str, document: str, summary: str, upstream: object) -> Example:
    columns = {"bbc_id": str(upstream)} if upstream is not None else {}
    return Example(id=name, fields={"document": document}, completion=summary, references=(summary,), columns=columns)


def _hub(split: str) -> HubFile:
    return HubFile(_REPOSITORY, f"data/{split}-00000-of-00001.parquet")


def _as_lines(parquet: Path, target: Path) -> None:
    """Write the rows of a Parquet file as JSON Lines."""
    import pyarrow.lib
    import pyarrow.parquet

    try:
        with target.open("w", encoding="utf-8") as out:
            for batch in pyarrow.parquet.ParquetFile(parquet).iter_batches():
                for row in batch.to_pylist():
                    out.write(json.dumps(row, ensure_ascii=False) + "\n")
    except (pyarrow.lib.ArrowException, UnicodeError) as error:
        raise InputError(f"no Parquet file that can be read: {error}", where=f"{_REPOSITORY}, {parquet.name}") from None


def _reason(document: str, summary: str, documents: set[bytes], summaries: set[bytes]) -> str:
    """Say why a row is left out, nothing where it is not; remember its texts."""
    if not document or not summary:
        return "empty"
    # hashes, since the whole set has two hundred thousand articles
    keys = [hashlib.sha256(fold(value).encode()).digest() for value in (document, summary)]
    reason = "repeated document" if keys[0] in documents else "repeated summary" if keys[1] in summaries else ""
    documents.add(keys[0])
    summaries.add(keys[1])
    return reason


def _place(document: str) -> str:
    tenth = int.from_bytes(hashlib.sha256(fold(document).encode()).digest()[:8], "big") % 10
    if tenth < _TENTHS["test"]:
        return "test"
    return "validation" if tenth < _TENTHS["test"] + _TENTHS["validation"] else "train"


def _beginning(document: str, words: int) -> str:
    """Return the first words of a document with the line breaks between them."""
    kept: list[str] = []
    for line in document.splitlines():
        taken = list(islice(line.split(), words))
        words -= len(taken)
        if taken:
            kept.append(" ".join(taken))
        if not words:
            break
    return "\n".join(kept)


@hookimpl
def harness_register_datasets() -> Iterable[DatasetRegistration]:
    """Offer ``xsum``."""
    return [
        DatasetRegistration(
            name="xsum",
            summary="XSum: BBC articles with a summary of one sentence",
            build="harness_plugins.datasets.xsum:XSum",
            options=XSumOptions,
            source="https://huggingface.co/datasets/EdinburghNLP/xsum",
            licence="the articles are the BBC's: for research",
            revision=_COMMIT,
        )
    ]
