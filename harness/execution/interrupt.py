"""Signals to a run: which end it, with workers ended first and an exit code that names the signal, and which do not.

Which asks for what is said in docs/adr/signals-of-schedulers.md.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING

from harness.training.stop import END, KEEP

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

#: What a scheduler sends long before it ends a job: there is time to finish a step and to write a large state.
EARLY = signal.SIGUSR2


class Interrupted(BaseException):
    """A signal asked for an end. No Exception: nothing that mends or reports errors may swallow it."""

    def __init__(self, number: int) -> None:
        """Remember which one."""
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def exit_code(self) -> int:
        """128 plus the signal's number."""
        return 128 + self.number


class KeepFlag:
    """Whether a signal has asked to keep the states of what is being made."""

    def __init__(self) -> None:
        """Start without."""
        self._asked = False

    def ask(self) -> None:
        """Ask for it."""
        self._asked = True

    def __call__(self) -> bool:
        """Return whether it was asked for since the last call."""
        asked, self._asked = self._asked, False
        return asked


@contextlib.contextmanager
def interruptible() -> Iterator[KeepFlag]:
    """Raise :class:`Interrupted` in the block at each signal that ends a run, and note the one that does not.

    Outside the main thread nothing changes.
    """
    flag = KeepFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # the signature of handlers
        if number == KEEP:
            flag.ask()
        else:
            raise Interrupted(number)

    before = {number: signal.signal(number, handle) for number in (*END, KEEP)}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            warned = number in {KEEP, EARLY} and handler == signal.SIG_DFL
            # what is left to do, printing, is no reason to die of a warning
            signal.signal(number, signal.SIG_IGN if warned else handler)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Hold a scheduler's signals back in the block; a process that is started in it holds them back until it is told.

    By default they kill: a new process would die of them before it could say otherwise.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (KEEP, EARLY))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def outlive_warnings() -> None:
    """Ignore a scheduler's signals from now on, in this process and, until they say otherwise, in those it starts."""
    for number in (KEEP, EARLY):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (KEEP, EARLY))
