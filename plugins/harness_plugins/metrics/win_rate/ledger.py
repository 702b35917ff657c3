"""What was spent on one judge from one results folder: reserved before a request is sent, settled when it is answered.

The ledger is one small file that all processes share, so a limit holds across stages that run at once and across runs.
A request whose end nobody saw (a time-out, a killed process) stays reserved at the most it can have cost.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from harness.api import StageError, open_file
from harness_plugins.metrics.win_rate.cache import lock, replace_synced, writing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness_plugins.metrics.win_rate.options import Price


@dataclass(frozen=True)
class Spent:
    """Requests and tokens."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: Spent) -> Spent:
        """Return both together."""
        return Spent(
            self.calls + other.calls,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
        )

    def cost(self, price: Price) -> float:
        """Return the cost in the currency of the price."""
        return (self.input_tokens * price.input + self.output_tokens * price.output) / 1e6


class Exhausted(Exception):
    """A reservation would pass a limit."""

    def __init__(self, limit: Literal["max_calls", "max_cost"]) -> None:
        """Say which."""
        super().__init__(limit)
        self.limit = limit


class Ledger:
    """The account of one judge."""

    def __init__(self, path: Path, *, price: Price | None, max_calls: int | None, max_cost: float | None) -> None:
        """Open the account at ``path``; it need not be there yet."""
        self._path = path
        self._price = price
        self._max_calls = max_calls
        self._max_cost = max_cost

    def reserve(self, most: Spent) -> None:
        """Put down one request at the most it can cost.

        Raises:
            Exhausted: A limit would be passed; nothing is put down.
        """
        with self._locked():
            after = self.read() + most
            if self._max_calls is not None and after.calls > self._max_calls:
                raise Exhausted("max_calls")
            if self._max_cost is not None and self._price is not None and after.cost(self._price) > self._max_cost:
                raise Exhausted("max_cost")
            self._write(after)

    def settle(self, reserved: Spent, spent: Spent) -> None:
        """Put what a request did cost in the place of what was reserved for it."""
        with self._locked():
            total = self.read()
            self._write(
                Spent(
                    total.calls - reserved.calls + spent.calls,
                    total.input_tokens - reserved.input_tokens + spent.input_tokens,
                    total.output_tokens - reserved.output_tokens + spent.output_tokens,
                )
            )

    def read(self) -> Spent:
        """Return what is put down.

        Raises:
            StageError: The file is not a ledger; a limit would mean nothing.
        """
        try:
            value = json.loads(self._path.read_text(encoding="utf-8"))
            return Spent(int(value["calls"]), int(value["input_tokens"]), int(value["output_tokens"]))
        except FileNotFoundError:
            return Spent()
        except (ValueError, TypeError, KeyError) as error:
            raise StageError(
                "the ledger of the judge is damaged", where=str(self._path), hint="remove it to count from nothing"
            ) from error

    def _write(self, spent: Spent) -> None:
        value = {"calls": spent.calls, "input_tokens": spent.input_tokens, "output_tokens": spent.output_tokens}
        replace_synced(self._path, json.dumps(value) + "\n")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        path = self._path.with_suffix(".lock")
        with writing(path):
            descriptor = open_file(path)
        try:
            lock(descriptor, wait=True)
            yield
        finally:
            os.close(descriptor)
