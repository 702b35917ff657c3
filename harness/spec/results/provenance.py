"""Where the rows of a ``prepare`` stage came from."""

from __future__ import annotations

from typing import ClassVar

from harness.api.registration import DataKind
from harness.spec.results.base import ResultFile


class DataProvenance(ResultFile):
    """What a data set's rows are, and where they came from."""

    file: ClassVar[str] = "provenance.json"

    content: str
    """The digest of the rows."""
    rows: int
    kind: DataKind | None = None
    origin: str
    revision: str | None = None
    sha256: str | None = None
    notes: tuple[str, ...] = ()
