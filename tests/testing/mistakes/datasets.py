"""A good data set, and others that make one mistake each; named by import strings, as those of distributions are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from harness.api import Example, InputError, Provenance

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


class Good:
    """Three greetings, by code."""

    def __init__(self, options: Any) -> None: ...

    def identity(self, source: Path | None) -> Mapping[str, Any]:
        return {"version": 1}

    def prepare(self, source: Path | None, folder: Path) -> Provenance:
        (folder / "rows.txt").write_text("hello\ngoodbye\nwelcome\n", encoding="utf-8")
        return Provenance("generated")

    def load(self, folder: Path, split: str) -> Iterator[Example]:
        if split != "train":
            raise InputError("no such split", got=split)
        for place, word in enumerate((folder / "rows.txt").read_text(encoding="utf-8").split()):
            yield self.row(Example(f"greeting-{word}", {"instruction": f"say {word}"}, completion=word), place)

    def row(self, example: Example, place: int) -> Example:
        return example


class SameIds(Good):
    """Ids that are not unique."""

    def row(self, example: Example, place: int) -> Example:
        return replace(example, id=example.id[:9])


class SaltedIds(Good):
    """Ids by Python's hash of a text, which is another in every process."""

    def row(self, example: Example, place: int) -> Example:
        return replace(example, id=f"{hash(example.completion):x}")


class BlankReference(Good):
    """A reference without a letter."""

    def row(self, example: Example, place: int) -> Example:
        return replace(example, references=("hello", " "))


class TakenColumn(Good):
    """A column in the place of what rewards are called with."""

    def row(self, example: Example, place: int) -> Example:
        return replace(example, columns={"prompts": "say it"})


class IdsByPlace(Good):
    """Ids that change with the order of the file."""

    def row(self, example: Example, place: int) -> Example:
        return replace(example, id=f"row-{place}")
