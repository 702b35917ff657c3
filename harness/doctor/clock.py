"""Whether the clock goes, and goes forwards."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import harness
from harness.doctor.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Reading:
    """Both clocks at one moment, in seconds."""

    wall: float
    steady: float

    @classmethod
    def now(cls) -> Reading:
        """Read them."""
        return cls(time.time(), time.monotonic())


def check_clock(first: Reading, last: Reading, newest: float | None = None) -> Iterator[Finding]:
    """Compare how far two clocks went, and the date with that of the newest file of the harness.

    Args:
        first: before something that took a while.
        last: after it.
        newest: when the newest file of the installation was written, in seconds since 1970.
    """
    if newest is None:
        newest = max(path.stat().st_mtime for path in Path(harness.__file__).parent.glob("*.py"))
    jumped = (last.wall - first.wall) - (last.steady - first.steady)
    date = datetime.fromtimestamp(last.wall, UTC).isoformat(sep=" ", timespec="minutes").removesuffix("+00:00")
    if abs(jumped) > 0.5:
        way = "back" if jumped < 0 else "forwards"
        yield Finding(
            "clock", "warns", f"it went {way} by {abs(jumped):.1f} s while this command ran",
            "dates of records, and the ages by which left-over files are judged, are wrong then",
            "have the system set it slowly (chrony, systemd-timesyncd)",
        )  # fmt: skip
    if last.wall < newest - 60:
        yield Finding(
            "clock", "warns", f"it says {date} UTC, and files of the harness are younger",
            "certificates of hubs are not valid yet, and what killed runs left behind never counts as old",
            "set the clock",
        )  # fmt: skip
    elif abs(jumped) <= 0.5:
        yield Finding("clock", "fine", f"{date} UTC, and it goes forwards")


def check_against(served: float, here: float) -> Iterator[Finding]:
    """Compare this machine's time with a server's."""
    if abs(served - here) > 60:
        yield Finding(
            "clock", "warns", f"it differs by {here - served:+,.0f} s from a server's",
            "certificates may count as expired, and dates of records are wrong", "set the clock",
        )  # fmt: skip
