"""Heartbeats: what each process of a stage sends while it runs, and for how long none has come.

A thread of its own sends them, so that a step, a load or a compilation of any length never counts as a stall; a process
that is stopped, or that the system no longer lets run, does.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time

#: Names the descriptor on which a process sends its heartbeats.
VARIABLE = "HARNESS_HEARTBEAT"

#: Seconds between two heartbeats.
_BEAT = 1.0

#: Most seconds that one look adds to a silence: while the parent itself was stopped, it could read none.
_LOOK = 5.0


class Heartbeat:
    """The heartbeat of one process, as its parent sees it."""

    def __init__(self) -> None:
        """Open the pipe; ``writing`` is the end for the process, to be closed here once the process has it."""
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.reading, False)
        self._silence = 0.0
        self._looked = time.monotonic()

    def silence(self) -> float:
        """Return for how many seconds no heartbeat has come, as of now."""
        now = time.monotonic()
        came = False
        with contextlib.suppress(BlockingIOError):
            while os.read(self.reading, 4096):
                came = True
        self._silence = 0.0 if came else self._silence + min(now - self._looked, _LOOK)
        self._looked = now
        return self._silence

    def given(self) -> None:
        """Close the process's end: it has it now, or will never have it."""
        if self.writing >= 0:
            os.close(self.writing)
            self.writing = -1

    def close(self) -> None:
        """Read no more."""
        self.given()
        os.close(self.reading)


def start_heartbeat() -> None:
    """Send heartbeats from now on, where somebody reads them."""
    descriptor = os.environ.pop(VARIABLE, None)
    if descriptor is not None:
        os.set_inheritable(int(descriptor), False)
        threading.Thread(target=_beat, args=(int(descriptor),), daemon=True).start()


def _beat(descriptor: int) -> None:
    while True:
        try:
            os.write(descriptor, b".")
        except OSError:  # nobody reads them any more
            return
        time.sleep(_BEAT)
