"""The rows of a prepared split, read back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.api import Example
from harness.spec.results.rows import DataRow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.store.records import Record


def read(record: Record) -> Iterator[Example]:
    """Read back the rows of a prepared split."""
    return (Example(**dict(row)) for row in record.lines(DataRow))
