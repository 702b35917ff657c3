"""Sides are timed in turns, step by step, so that what the machine does meanwhile falls on all of them alike.

A side that trains or samples has a process of its own, as it would have with whoever uses it. In one process each would
work in the heap that the other left: glibc keeps or gives back memory by what was freed before, and a recipe that gets
gigabytes anew in each step takes half as long again, or not, by what ran before it.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from multiprocessing.connection import Connection


@dataclass
class Seconds:
    """What the rounds of one comparison took, by side."""

    sides: dict[str, list[float]] = field(default_factory=dict)

    def add(self, side: str, seconds: float) -> None:
        """Take one measurement."""
        self.sides.setdefault(side, []).append(seconds)

    def median(self, side: str) -> float:
        """Return the median of a side."""
        return statistics.median(self.sides[side])

    def ratio(self, slow: str, fast: str) -> float:
        """Return how many times as fast one side is as the other: the median over rounds of their ratio."""
        return statistics.median(a / b for a, b in zip(self.sides[slow], self.sides[fast], strict=True))

    def ratios(self, slow: str, fast: str) -> tuple[float, float]:
        """Return the quartiles over rounds of the ratio."""
        each = [a / b for a, b in zip(self.sides[slow], self.sides[fast], strict=True)]
        low, _, high = statistics.quantiles(each, n=4)
        return low, high


class Turns(Protocol):
    """What a side that runs by itself, such as a trainer, calls around each of its steps."""

    def begin(self) -> None:
        """Wait for the side's turn; there is always one more than is taken, so that nothing ends while others work."""
        ...

    def end(self) -> None:
        """Say that the step is done."""
        ...


@dataclass(frozen=True)
class Side:
    """One side of a comparison; all of it is pickled for its process."""

    run: Callable[..., None]
    """Takes the turns first, and begins one step more than are timed."""
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables of its process: the switches of what is timed."""

    @classmethod
    def of(cls, make: Callable[..., Callable[[], object]], *arguments: Any, **options: Any) -> Side:
        """Return the side that takes a step by calling what ``make`` returns."""
        return cls(_repeat, (make, *arguments), options)


def _repeat(turns: Turns, make: Callable[..., Callable[[], object]], *arguments: Any, **options: Any) -> None:
    take = make(*arguments, **options)
    while True:
        turns.begin()
        take()
        turns.end()


class _Over(Exception):
    """Nothing went wrong: there are no more turns."""


class _Waiting:
    """Turns that another process gives."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._began = 0.0

    def begin(self) -> None:
        self._connection.send(None)  # at rest
        if not self._connection.recv():
            raise _Over
        self._began = time.perf_counter()

    def end(self) -> None:
        self._connection.send(time.perf_counter() - self._began)


def _serve(connection: Connection, side: Side, threads: int) -> None:
    torch.set_num_threads(threads)
    os.environ.update(side.environment)
    try:
        side.run(_Waiting(connection), *side.arguments, **side.options)
    except _Over:
        return


class _Process:
    """A side at work."""

    def __init__(self, name: str, side: Side, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._name = name
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, side, threads), daemon=True)
        self._process.start()
        theirs.close()

    def rest(self) -> None:
        """Wait until it has nothing to do but to wait for its turn."""
        self._hear()

    def take(self) -> float:
        """Let it take a step, and return its seconds."""
        with suppress(OSError):  # that it has ended is seen below
            self._connection.send(True)
        seconds: float = self._hear()
        self.rest()
        return seconds

    def _hear(self) -> Any:
        try:
            return self._connection.recv()
        except (EOFError, OSError):
            raise SystemExit(f"{self._name}: its process ended early; what it said of that is above") from None

    def close(self) -> None:
        """End it."""
        with suppress(OSError):  # it may have ended
            self._connection.send(False)
        self._process.join(timeout=30)
        self._process.kill()


def in_turns(sides: Mapping[str, Side], *, rounds: int, threads: int, warm_up: int = 1) -> Seconds:
    """Let every side take a step once a round, each in its own process; see :func:`interleave`."""
    with ExitStack() as stack:
        processes = {}
        for name, side in sides.items():
            processes[name] = _Process(name, side, threads)
            stack.callback(processes[name].close)
        for process in processes.values():
            process.rest()
        return interleave({name: each.take for name, each in processes.items()}, rounds=rounds, warm_up=warm_up)


def interleave(sides: Mapping[str, Callable[[], float]], *, rounds: int, warm_up: int = 1) -> Seconds:
    """Ask every side for its seconds once a round, in turning order; the first ``warm_up`` rounds are not counted."""
    found = Seconds()
    names = list(sides)
    for number in range(warm_up + rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            seconds = sides[name]()
            if number >= warm_up:
                found.add(name, seconds)
    return found


def timed(call: Callable[[], object]) -> Callable[[], float]:
    """Return what calls and returns the seconds of it."""

    def take() -> float:
        began = time.perf_counter()
        call()
        return time.perf_counter() - began

    return take
