"""Signs of life: what each process of a stage gives while it runs, and for how long none was heard.

A thread of its own gives them, so that a step, a load or a compilation of any length never counts as a stall; a process
that is stopped, or that the system no longer lets run, does.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time

#: Names the descriptor on which a process gives its signs.
VARIABLE = "HARNESS_ALIVE"

#: Seconds between two signs.
_BEAT = 1.0

#: Most seconds that one look adds to a silence: while the listener itself was stopped, it could hear nobody.
_LOOK = 5.0


class Listener:
    """Hears one process."""

    def __init__(self) -> None:
        """Open the pipe; ``writing`` is the end for the process, to be closed here once the process has it."""
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.reading, False)
        self._silence = 0.0
        self._looked = time.monotonic()

    def silence(self) -> float:
        """Return for how many seconds nothing was heard, as of now."""
        now = time.monotonic()
        heard = False
        with contextlib.suppress(BlockingIOError):
            while os.read(self.reading, 4096):
                heard = True
        self._silence = 0.0 if heard else self._silence + min(now - self._looked, _LOOK)
        self._looked = now
        return self._silence

    def given(self) -> None:
        """Close the process's end: it has it now, or will never have it."""
        if self.writing >= 0:
            os.close(self.writing)
            self.writing = -1

    def close(self) -> None:
        """Hear no more."""
        self.given()
        os.close(self.reading)


def give_signs() -> None:
    """Give signs of life from now on, where somebody listens."""
    descriptor = os.environ.pop(VARIABLE, None)
    if descriptor is not None:
        os.set_inheritable(int(descriptor), False)
        threading.Thread(target=_beat, args=(int(descriptor),), daemon=True).start()


def _beat(descriptor: int) -> None:
    while True:
        try:
            os.write(descriptor, b".")
        except OSError:  # nobody listens any more
            return
        time.sleep(_BEAT)
