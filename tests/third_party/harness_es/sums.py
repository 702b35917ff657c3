"""The data set ``sums``: additions of two small numbers, generated."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from pydantic import PositiveInt

from harness.api import DatasetRegistration, Example, InputError, Options, Provenance, hookimpl, suggest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

#: Tenths of all additions in each split.
SPLITS = {"train": range(8), "validation": range(8, 9), "test": range(9, 10)}


class SumsOptions(Options):
    """Options of ``sums``."""

    largest: PositiveInt = 30
    """Largest number in a question; there are (largest + 1)^2 questions in all."""


class Sums:
    """Every addition of two numbers stands in one split, which a hash of the numbers decides."""

    def __init__(self, options: SumsOptions) -> None:
        """Keep the options."""
        self.options = options

    def identity(self, source: Path | None) -> Mapping[str, Any]:
        """Return what fixes the rows."""
        _refuse(source)
        return {"generator": "harness-es sums 1", "largest": self.options.largest}

    def prepare(self, source: Path | None, folder: Path) -> Provenance:
        """Write one JSON Lines file a split."""
        _refuse(source)
        numbers = range(self.options.largest + 1)
        for split, tenths in SPLITS.items():
            rows = [[a, b] for a in numbers for b in numbers if _tenth(a, b) in tenths]
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / f"{split}.jsonl").write_text(text, encoding="utf-8")
        return Provenance("generated", notes=("additions of two numbers, from harness-es",))

    def load(self, folder: Path, split: str) -> Iterator[Example]:
        """Read one split back."""
        if split not in SPLITS:
            raise InputError("sums has no such split", got=split, did_you_mean=suggest(split, SPLITS))
        with (folder / f"{split}.jsonl").open(encoding="utf-8") as file:
            for a, b in map(json.loads, file):
                yield Example(
                    id=f"{a}+{b}",
                    fields={"instruction": f"What is {a} plus {b}?"},
                    completion=f"{a} plus {b} is {a + b}.",
                    columns={"digits": len(str(a + b))},
                )


def _tenth(a: int, b: int) -> int:
    return hashlib.sha256(f"{a} {b}".encode()).digest()[0] % 10


def _refuse(source: Path | None) -> None:
    if source is not None:
        raise InputError("sums is generated and reads no file", got=str(source))


@hookimpl
def harness_register_datasets() -> Iterable[DatasetRegistration]:
    """Offer ``sums``."""
    return [
        DatasetRegistration(
            name="sums",
            summary="Additions of two small numbers, generated",
            options=SumsOptions,
            build="harness_es.sums:Sums",
            splits=tuple(SPLITS),
            licence="Apache-2.0",
            generated=True,
        )
    ]
