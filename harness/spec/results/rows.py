"""The rows that a ``prepare`` stage leaves behind."""

from __future__ import annotations

from typing import Any, ClassVar

from harness.api.conversation import Turn
from harness.spec.results.base import ResultLine


class DataRow(ResultLine):
    """One row of a data set: an :class:`harness.api.Example` as JSON has it."""

    file: ClassVar[str] = "rows.jsonl"

    id: str
    fields: dict[str, str]
    completion: str | None = None
    references: tuple[str, ...] = ()
    chosen: str | None = None
    rejected: str | None = None
    columns: dict[str, Any] = {}
    label: bool | None = None
    turns: tuple[Turn, ...] = ()
