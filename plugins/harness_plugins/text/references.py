"""Reading the ``references`` column that rewards are called with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.api import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence


def references_of(reward: str, completions: Sequence[str], columns: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the references of each completion: a tuple of texts, empty where there are none.

    A column may hold one text or several in each place, so that data prepared for TRL works as well.

    Raises:
        InputError: The column is missing, has another length than ``completions`` or holds something else than text.
    """
    where = f"reward {reward!r}"
    column = columns.get("references")
    if column is None:
        raise InputError(
            "the column 'references' is missing",
            where=where,
            got=sorted(columns),
            expected="one text or a list of texts for each completion",
        )
    if len(column) != len(completions):
        raise InputError(
            "the column 'references' does not fit the completions",
            where=where,
            got=len(column),
            expected=f"{len(completions)} entries",
        )
    return [_texts(entry, where) for entry in column]


def _texts(entry: Any, where: str) -> tuple[str, ...]:
    if entry is None:
        return ()
    texts = (entry,) if isinstance(entry, str) else tuple(entry)
    for text in texts:
        if not isinstance(text, str):
            raise InputError("a reference is not a text", where=where, got=text, expected="text")
    return texts
