"""Stopping between two steps, or keeping the state there, when the system or the user asks for it.

Which signal asks for what is said in docs/adr/signals-of-schedulers.md.
"""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


class Stopped(HarnessError):
    """Training ended between two steps because a signal asked for it; what was done is kept where that was wanted."""

    def __init__(self, number: int, step: int) -> None:
        """Remember which signal it was and which step would have been next."""
        super().__init__(f"stopped before step {step} by {signal.Signals(number).name}", hint="run again to go on")
        self.number = number
        self.step = step

    def __reduce__(self) -> tuple[object, ...]:
        """Rebuild from the two parts."""
        return Stopped, (self.number, self.step)


#: What asks for an end. The last is a scheduler's warning that it will end the job.
END = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)

#: What asks to keep the state and to go on.
KEEP = signal.SIGUSR1


class StopFlag:
    """What signals have asked for."""

    number: int = 0
    """The first that asked for an end; 0 while none did."""
    keep: bool = False
    """Whether the state is to be kept, an end or not."""

    def __call__(self) -> int:
        """Return the number of the signal that asked for an end, or 0."""
        return self.number

    def asked_to_keep(self) -> bool:
        """Return whether the state was asked for since the last call."""
        asked, self.keep = self.keep, False
        return asked


@contextmanager
def stop_on_signals() -> Iterator[StopFlag]:
    """Note signals in a flag, and do nothing else.

    A second one does no more than the first: a scheduler signals every process of a job, and the parent of this one
    then asks it too. Who cannot wait has SIGKILL. Outside the main thread, where Python takes no signals, nothing
    changes.
    """
    flag = StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    before: dict[int, Any] = {}

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # the signature of handlers
        if number == KEEP:
            flag.keep = True
        else:
            flag.number = flag.number or number

    for each in (*END, KEEP):
        before[each] = signal.signal(each, handle)
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
