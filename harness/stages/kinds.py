"""Kinds of data: rows are what their data set says, and a reference may stand in for a demonstration."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from harness.api import DATA_KINDS
from harness.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.api import DataKind, Example


def check_kind(examples: Iterable[Example], kind: DataKind, where: str) -> None:
    """Refuse rows that are not what the data set declares.

    Raises:
        InputError: naming the first such row.
    """
    for example in examples:
        lacks = _lacks(example, kind)
        if lacks:
            raise InputError(
                f"this row {lacks}, and the data set provides {DATA_KINDS[kind]}", where=f"{where}, row {example.id}"
            )


def _lacks(example: Example, kind: DataKind) -> str:
    """Say what is wrong with a row of a kind; nothing where it is what it should be."""
    if kind == "unpaired_preferences":
        if example.completion is None:
            return "has no completion"
        return "" if isinstance(example.label, bool) else "has no label (true or false)"
    if example.label is not None:
        return "has a label"
    if kind == "preferences" and (example.chosen is None or example.rejected is None):
        return f"has no {'chosen' if example.chosen is None else 'rejected'} answer"
    if kind == "references" and not example.references:
        return "has no references"
    return ""


def with_reference(examples: Sequence[Example], number: int, where: str) -> tuple[list[Example], str]:
    """Return rows whose demonstration, where they have none, is their reference of this number, and a caption's words.

    Raises:
        InputError: no row that lacks a demonstration has that many references.
    """
    lacking = [example for example in examples if example.completion is None]
    taught = [
        dataclasses.replace(example, completion=example.references[number - 1])
        if example.completion is None and len(example.references) >= number
        else example
        for example in examples
    ]
    count = sum(new is not old for new, old in zip(taught, examples, strict=True))
    if lacking and not count:
        most = max(len(example.references) for example in lacking)
        raise InputError(
            "no row without a completion has so many references",
            where=f"{where}, train_on_reference",
            got=number,
            expected=f"at most {most}" if most else "rows with references",
        )
    note = f"reference {number} is the demonstration of {count} rows, which have none of their own"
    return taught, f"{note}; {len(lacking) - count} rows have no such reference" if count < len(lacking) else note
