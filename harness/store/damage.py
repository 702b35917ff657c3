"""What is wrong with a stage that is not what was written: said, and nothing done about it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from harness.errors import StageError

if TYPE_CHECKING:
    from pathlib import Path

What: TypeAlias = Literal["missing", "size", "digest", "manifest", "unexpected", "unreadable"]

_HINT = "harness run quarantines the stage and rebuilds it"
_KEPT = "no stage reads it: it may be removed"


@dataclass(frozen=True)
class Damage:
    """One file of a stage that is not what was written."""

    kind: str
    id: str
    folder: Path
    """The stage's."""
    file: str
    """Below the folder."""
    what: What
    details: str
    """The same in words."""
    label: str | None = None
    """What people call the stage; None where its manifest cannot tell."""

    @property
    def name(self) -> str:
        """Kind and label, or as much of the id as tells stages apart."""
        return f"{self.kind} {self.label or self.id[:12]}"

    @property
    def spoils(self) -> bool:
        """Whether the stage is worth nothing because of it; a file too many harms nothing."""
        return self.what not in {"unexpected", "unreadable"}

    def __str__(self) -> str:
        return f"{self.name}: {self.file} {self.details}"

    def known_as(self, label: str | None) -> Damage:
        """Return the same of a stage whose label is known from elsewhere."""
        return self if self.label or label is None else replace(self, label=label)


class CorruptError(StageError):
    """A file of the store is not what its manifest says. A run quarantines the stage and rebuilds it."""

    def __init__(self, damage: Damage) -> None:
        """Say which file it is."""
        hint = _KEPT if damage.what == "unexpected" else _HINT
        super().__init__(f"{damage.file} {damage.details}", where=str(damage.folder), hint=hint)
        self.damage = damage

    def __reduce__(self) -> tuple[object, ...]:
        """Rebuild from the damage."""
        return CorruptError, (self.damage,)
