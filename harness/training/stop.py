"""Stopping between two steps when the system or the user asks for it."""

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


class StopFlag:
    """The signal that asked for an end; 0 while none did."""

    number: int = 0

    def __call__(self) -> int:
        """Return the signal's number, or 0."""
        return self.number


@contextmanager
def stop_on_signals(*numbers: int) -> Iterator[StopFlag]:
    """Note the first SIGTERM or SIGINT (or those given); a second one does what it always did.

    The handler sets a flag and nothing else. Outside the main thread, where Python takes no signals, nothing changes.
    """
    flag = StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    before: dict[int, Any] = {}

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # the signature of handlers
        flag.number = number
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in numbers or (signal.SIGTERM, signal.SIGINT):
        before[number] = signal.signal(number, handle)
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
