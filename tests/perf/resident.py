"""The memory of this process as Linux counts it.

``ru_maxrss`` would not do: a process that another one starts begins with the peak of that other one.
"""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

_STATUS = Path("/proc/self/status")


class Growth:
    """The most memory that was held at a time since :meth:`begin`, above what was held then."""

    def __init__(self) -> None:
        """Not begun."""
        self.held: float | None = None

    def begin(self) -> None:
        """Give back what is free, and start from what is left; a second call does nothing."""
        if self.held is None:
            trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
            if trim is not None:
                trim(0)
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak is the present size from here on
            self.held = _megabytes("VmRSS")

    def read(self) -> float:
        """Return it in MB (10^6 bytes)."""
        assert self.held is not None
        return _megabytes("VmHWM") - self.held


def supported() -> bool:
    """Return whether this system tells of it."""
    return _STATUS.is_file()


def _megabytes(name: str) -> float:
    found = re.search(rf"^{name}:\s+(\d+) kB$", _STATUS.read_text(encoding="ascii"), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024 / 1e6
