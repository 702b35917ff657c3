"""What a check of a run has found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

Kind: TypeAlias = Literal["missing", "damaged", "foreign", "differs", "unread"]


class Finding(NamedTuple):
    """One thing that is not as the records say."""

    kind: Kind
    where: str
    """Which record, row or cell."""
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.where}: {self.what}"


@dataclass
class Audit:
    """All that a check found, and how much it looked at."""

    findings: list[Finding] = field(default_factory=list)
    records: int = 0
    """Stages whose files were compared with their digests."""
    origins: int = 0
    """Stages whose id follows from what they were asked and made from."""
    scores: int = 0
    """Values of answers from which means were taken again."""
    figures: int = 0
    """Numbers of tables that were calculated again."""
    skipped: list[str] = field(default_factory=list)
    """What could not be derived, in sentences."""

    def add(self, kind: Kind, where: str, what: str) -> None:
        """Note one thing."""
        found = Finding(kind, where, what)
        if found not in self.findings:
            self.findings.append(found)
