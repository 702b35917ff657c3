"""Dolly: 15,011 instructions with answers, written by Databricks' employees in eight categories."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from harness.api import DatasetRegistration, Example, InputError, Options, Provenance, hookimpl
from harness_plugins.datasets.upstream import (
    HubFile,
    content_sha256,
    fetch,
    find,
    fold,
    hub_identity,
    read_lines,
    text,
    unpack,
)

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
    """Commit of the hub's repository; without it the file's known sha256 is what counts."""


class Dolly:
    """Splits by instruction, with case and white space folded: 232 rows repeat an earlier one's instruction.

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
        return hub_identity(_HUB, self._revision)

    def prepare(self, source: Path | None, folder: Path) -> Provenance:
        """Put the plain file into ``folder``."""
        if source is None:
            return fetch(_HUB, self._revision, folder / _FILE, dataset="dolly")
        digest = unpack(find(source, [_FILE], dataset="dolly"), folder / _FILE)
        return Provenance(origin="file", sha256=digest)

    def load(self, folder: Path, split: str) -> Iterator[Example]:
        """Yield a split's rows in the file's order."""
        rows = list(self._rows(folder))
        held = _held_out([row[1] for row in rows])
        seen: set[str] = set()
        for example, folded in rows:
            place = held.get(folded, "train")
            first = folded not in seen
            seen.add(folded)
            if place == split and (first or place == "train"):
                yield example

    def _rows(self, folder: Path) -> Iterator[tuple[Example, str]]:
        for number, row in read_lines(folder / _FILE, _FILE):
            where = f"{_FILE}:{number}"
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


def _held_out(instructions: Iterable[str]) -> dict[str, str]:
    """Say which instructions are for test and validation."""
    distinct = sorted(set(instructions), key=lambda folded: hashlib.sha256(folded.encode()).digest())
    if len(distinct) <= _VALIDATION + _TEST:
        raise InputError(
            "too few distinct instructions to split", where=_FILE, got=len(distinct),
            expected=f"more than {_VALIDATION + _TEST}", hint="use the data set `jsonl` for a file of your own",
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
            modules=("harness_plugins.datasets.upstream",),
        )
    ]
