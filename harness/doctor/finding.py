"""What a check has seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

#: ``prevents``: nothing, or not what was asked for, can run. ``warns``: it runs, and slowly or not for long. ``notes``:
#: what else is worth knowing. ``fine``: as it should be.
Status: TypeAlias = Literal["fine", "notes", "warns", "prevents"]
MARKS: Final[dict[Status, str]] = {"fine": "✓", "notes": "·", "warns": "!", "prevents": "✗"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    status: Status
    what: str
    """What was seen, in one line."""
    why: str = ""
    """Why it matters; empty where all is fine."""
    do: str = ""
    """What to do about it."""

    def __str__(self) -> str:
        """Return it in words, one line each."""
        lines = [f"{MARKS[self.status]} {self.subject}: {self.what}"]
        lines += [f"    why: {self.why}"] * bool(self.why) + [f"    do:  {self.do}"] * bool(self.do)
        return "\n".join(lines)


def bytes_text(size: float) -> str:
    """Return a number of bytes in the unit that fits."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"
