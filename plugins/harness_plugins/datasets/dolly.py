"""Dolly: 15,011 instructions with answers, written by Databricks' employees in eight categories."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import TYPE_CHECKING, Any, Final

from harness.api import DatasetRegistration, Example, InputError, Options, Provenance, hookimpl
from harness_plugins.upstream.lines import fold, read_lines, text
from harness_plugins.upstream.local import content_sha256, find, origin, unpack
from harness_plugins.upstream.remote import HubFile, fetch, identity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

_FILE: Final = "databricks-dolly-15k.jsonl"
_HUB: Final = HubFile(
    "databricks/databricks-dolly-15k", _FILE, "2df9083338b4abd6bceb5635764dab5d833b393b55759dffb0959b6fcbf794ec"
)
#: Distinct instructions that are kept out of training.
_VALIDATION, _TEST = 500, 1000


class DollyOptions(Options):
    """Which upstream content."""

    revision: str | None = None
    """Commit of the hub's repository; without it the file must have the known sha256."""


class Dolly:
    """Splits by instruction, with case and white space folded: 250 rows repeat an earlier one's instruction.

    The instructions, in an order that their sha256 gives, fill the test set (1,000 rows) and then the validation set
    (500 rows), each instruction with its first row in the file; the further rows of those instructions are left out.
    The rest, repetitions included, is for training.
    """

    def __init__(self, options: DollyOptions) -> None:
        """Keep the options."""
        self._revision = options.revision

    def identity(self, source: Path | None) -> Mapping[str, Any]:
        """Return the content's sha256, or the revision asked for."""
        if source is not None:
            return {"sha256": content_sha256(find(source, [_FILE], dataset="dolly"))}
        return identity(_HUB, self._revision)

    def prepare(self, source: Path | None, folder: Path) -> Provenance:
        """Put the plain file into ``folder``."""
        if source is None:
            provenance = fetch(_HUB, self._revision, folder / _FILE, dataset="dolly")
        else:
            path = find(source, [_FILE], dataset="dolly")
            provenance = Provenance(origin="file", sha256=unpack(path, folder / _FILE))
        notes = ["split by instruction; further rows of a held-out instruction are in no split"]
        if provenance.sha256 != _HUB.sha256:
            notes.append("another file than databricks-dolly-15k as of May 2023")
        return dataclasses.replace(provenance, notes=tuple(notes))

    def load(self, folder: Path, split: str) -> Iterator[Example]:
        """Yield a split's rows in the file's order."""
        if split not in {"train", "validation", "test"}:
            raise InputError("dolly has no such split", got=split, expected="train, validation or test")
        rows = list(self._rows(folder / _FILE))
        held = _held_out({folded for _, folded in rows}, origin(folder / _FILE))
        seen: set[str] = set()
        for example, folded in rows:
            place = held.get(folded, "train")
            first = folded not in seen
            seen.add(folded)
            if place == split and (first or place == "train"):
                yield example

    def _rows(self, path: Path) -> Iterator[tuple[Example, str]]:
        for number, where, row in read_lines(path):
            instruction, response = text(row, "instruction", where), text(row, "response", where)
            context = text(row, "context", where, empty=True)
            example = Example(
                id=f"dolly-{number:05}",
                fields={"instruction": instruction.strip(), "context": context.strip()},
                completion=response.strip(),
                references=(response.strip(),),
                columns={"category": text(row, "category", where)},
            )
            yield example, fold(instruction)


def _held_out(instructions: set[str], name: str) -> dict[str, str]:
    """Say which instructions are for test and validation."""
    distinct = sorted(instructions, key=lambda folded: hashlib.sha256(folded.encode()).digest())
    if len(distinct) <= _VALIDATION + _TEST:
        raise InputError(
            "too few distinct instructions to split", where=name, got=len(distinct),
            expected=f"more than {_VALIDATION + _TEST}", hint="use the data set `files` for a file of your own",
        )  # fmt: skip
    return dict.fromkeys(distinct[:_TEST], "test") | dict.fromkeys(distinct[_TEST : _TEST + _VALIDATION], "validation")


@hookimpl
def harness_register_datasets() -> Iterable[DatasetRegistration]:
    """Offer ``dolly``."""
    return [
        DatasetRegistration(
            name="dolly",
            summary="databricks-dolly-15k: 13,495 rows for training, 500 for validation, 1,000 for test",
            build="harness_plugins.datasets.dolly:Dolly",
            options=DollyOptions,
            source="https://huggingface.co/datasets/databricks/databricks-dolly-15k",
            licence="CC BY-SA 3.0",
        )
    ]
