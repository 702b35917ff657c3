"""Any data set of the Hugging Face hub, or a folder that holds the files of one."""

from __future__ import annotations

import hashlib
import json
from itertools import islice
from typing import TYPE_CHECKING, Any

from pydantic import Field

from harness.api import DATA_KINDS, DatasetRegistration, Example, InputError, Provenance, hookimpl, suggest
from harness_plugins.datasets.files.examples import Tally, examples
from harness_plugins.datasets.files.fields import RowOptions, fields_of
from harness_plugins.datasets.files.messages import read_conversation
from harness_plugins.upstream.forms import json_rows
from harness_plugins.upstream.lines import read_lines
from harness_plugins.upstream.local import check_exists, combined, note_origin
from harness_plugins.upstream.streamed import Pinned, called, folder_sha256, pin, split_names, stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path
    from typing import TextIO

    from harness.api import DataKind
    from harness_plugins.upstream.lines import Bad, Line


class HubOptions(RowOptions):
    """Which data set, and which column of it is what. Rows are demonstrations unless ``kind`` or columns say else."""

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$", max_length=200)
    """The data set's name on the hub, ``owner/name``."""
    config: str | None = None
    """Which of its configurations (subsets), where it has several."""
    revision: str = Field("main", min_length=1)
    """A commit of the data set. Where it is a branch or a tag, the commit that it is today is recorded, and the tables
    name it; only a commit gives the same rows for ever."""


class Hub:
    """A data set's own files, at one commit, read through ``datasets``, which runs no code of it.

    Of the split that is asked for, only as many rows are fetched as are used. A ``path:`` is a folder with the files
    of the data set, as ``hf download --repo-type dataset`` gives them.
    """

    def __init__(self, options: HubOptions) -> None:
        """Keep the options."""
        self._options = options
        self._tallies: dict[tuple[Path, str], Tally] = {}

    def identity(self, source: Path | None) -> Mapping[str, Any]:
        """Return the name and the revision that was asked for, or the sha256 of a folder's files."""
        if source is not None:
            _check_folder(source)
            return {"sha256": folder_sha256(source)}
        return {"id": self._options.id, "revision": self._options.revision}

    def prepare(self, source: Path | None, folder: Path) -> Provenance:
        """Fetch every split into ``folder``."""
        at = self._located(source)
        names = self._splits(split_names(at, self._options.config), called(at))
        digests = {split: self._fetch(at, folder, split, None) for split in names}
        return self._provenance(at, source, combined(digests))

    def prepare_split(self, source: Path | None, folder: Path, split: str, limit: int | None) -> Provenance:
        """Fetch one split into ``folder``, and of that no more than has the first ``limit`` usable rows."""
        at = self._located(source)
        if self._options.holdout is not None:
            names = self._splits(split_names(at, self._options.config), called(at))
            if split not in names:
                raise InputError("no such split", where=called(at), got=split, expected=f"one of {', '.join(names)}",
                                 did_you_mean=suggest(split, names))  # fmt: skip
        return self._provenance(at, source, self._fetch(at, folder, split, limit))

    def notes(self, folder: Path, split: str) -> tuple[str, ...]:
        """Say what is held out, and which rows were left out because they are bad."""
        options, name = self._options, self._options.id
        cut = options.holdout is not None and split in {options.holdout.of, *options.holdout.names()}
        notes = [f"{name}: {options.holdout.note(split)}"] if cut and options.holdout is not None else []
        tally = self._tallies.get((folder, split), Tally())
        return (*notes, *filter(None, [tally.note(name)]))

    def load(self, folder: Path, split: str) -> Iterator[Example]:
        """Yield a split's rows in the data set's order."""
        path = _place(folder, split)
        if not path.is_file():
            there = [each.name.removesuffix(".rows.jsonl") for each in sorted(folder.glob("*.rows.jsonl"))]
            raise InputError("no such split", where=self._options.id, got=split,
                             expected=f"one of {', '.join(there)}", did_you_mean=suggest(split, there))  # fmt: skip
        return self._examples(lambda bad: read_lines(path, bad), split, Tally())

    def _located(self, source: Path | None) -> Pinned | Path:
        if source is None:
            return pin(self._options.id, self._options.revision)
        _check_folder(source)
        return source

    def _splits(self, names: tuple[str, ...], where: str) -> tuple[str, ...]:
        """Return the splits of the data set, those that rows are held out for included."""
        holdout = self._options.holdout
        return names if holdout is None else holdout.splits(names, where)

    def _fetch(self, at: Pinned | Path, folder: Path, split: str, limit: int | None) -> str:
        """Write the rows that hold the first ``limit`` usable ones of a split; return the digest of what is written."""
        options, target = self._options, _place(folder, split)
        holdout = options.holdout
        taken_from = holdout.of if holdout is not None and split in holdout.names() else split
        name = f"{called(at)}/{taken_from}"
        tally = self._tallies[folder, split] = Tally()
        note_origin(target, name)
        with target.open("w", encoding="utf-8") as out:

            def read(bad: Bad | None) -> Iterator[Line]:
                rows = stream(at, options.config, taken_from)
                return _written(json_rows(rows, name, bad, options.drop, what="split"), out)

            for _ in islice(self._examples(read, split, tally), limit):
                pass
        return _sha256(target)

    def _examples(self, read: Any, split: str, tally: Tally) -> Iterator[Example]:
        options = self._options
        kind = options.declared() or "demonstrations"
        cut = options.holdout is not None and split in {options.holdout.of, *options.holdout.names()}
        told = options.model_copy(update={"kind": kind, "holdout": options.holdout if cut else None})

        def checked(bad: Bad | None) -> Iterator[Line]:
            for number, line in enumerate(read(bad)):
                if number == 0 and options.declared() is None:
                    _check_kind(options, line)
                yield line

        return examples(checked, told, split, tally)

    def _provenance(self, at: Pinned | Path, source: Path | None, sha256: str) -> Provenance:
        if not isinstance(at, Pinned):
            assert source is not None
            return Provenance(origin="file", sha256=folder_sha256(source))
        pinned = self._options.revision == at.commit
        notes = () if pinned else (f"{at.id}: {self._options.revision} was {at.commit} when it was fetched",)
        return Provenance(origin=at.id, revision=at.commit, sha256=sha256, notes=notes)


def _check_kind(options: HubOptions, line: Line) -> None:
    """Refuse rows of which the first says that they are something else than was taken for granted."""
    kind = fields_of(options, read_conversation(line.row, options.columns, line.where).row, line.where).kind
    if kind != "demonstrations":
        raise InputError(
            f"these rows are {DATA_KINDS[kind]}, and without the network they were taken for demonstrations",
            where=line.where, expected=f"kind: {kind}",
        )  # fmt: skip


def _check_folder(source: Path) -> None:
    check_exists(source, dataset="hub")
    if not source.is_dir():
        raise InputError("a folder with the files of the data set is needed, and this is a file", where=str(source),
                         hint="the data set `files` reads one file")  # fmt: skip


def _written(lines: Iterable[Line], out: TextIO) -> Iterator[Line]:
    """Yield rows as they are read, each once it is written as a line."""
    for line in lines:
        out.write(json.dumps(line.row, ensure_ascii=True) + "\n")
        yield line


def _sha256(path: Path) -> str:
    with path.open("rb") as stream_:
        return hashlib.file_digest(stream_, "sha256").hexdigest()


def _place(folder: Path, split: str) -> Path:
    return folder / f"{split}.rows.jsonl"


def kind_of(options: HubOptions, source: Path | None, split: str) -> DataKind | None:  # noqa: ARG001  # the hook's form
    """Return what the options say that the rows are."""
    return options.declared()


def splits_of(options: HubOptions, source: Path | None) -> tuple[str, ...]:  # noqa: ARG001  # as above
    """Return nothing: which splits there are is known once the hub has answered."""
    return ()


@hookimpl
def harness_register_datasets() -> Iterable[DatasetRegistration]:
    """Offer ``hub``."""
    return [
        DatasetRegistration(
            name="hub",
            summary="any data set of the Hugging Face hub, at a commit, with options that say which column is what",
            build="harness_plugins.datasets.hub:Hub",
            options=HubOptions,
            kind_of=kind_of,
            splits_of=splits_of,
            source="https://huggingface.co/datasets",
            licence="the data set's own",
        )
    ]
