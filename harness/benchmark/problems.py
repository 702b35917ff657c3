"""The mistakes of one benchmark file, collected so that all are reported at once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from harness.errors import InputError, InputErrors

#: More mistakes than anybody reads at once.
MAX_SHOWN: Final = 100
_MAX_LENGTH: Final = 80
_NOTHING: Final = object()


@dataclass(frozen=True, order=True)
class Place:
    """Where a key or value was written: in a file, or on the command line (``line`` 0)."""

    source: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        """Return ``file:line:column``, or the command-line option as it was given."""
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


class Shown(str):
    """A value as it looks in a YAML or JSON file, cut short: its ``repr`` is itself, so that no quotes are added."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Return the text as it is."""
        return str(self)


def show(value: Any) -> Shown:
    """Return ``value`` for a message: JSON, one line, no control characters, at most some 80 characters."""
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return Shown(clean(text))


def clean(text: str) -> str:
    """Return ``text`` on one line and cut short, with what a terminal cannot print as escapes."""
    return printable(text if len(text) <= _MAX_LENGTH else text[: _MAX_LENGTH - 1] + "…")


def printable(text: str) -> str:
    """Return ``text`` with line ends, control and bidirectional characters as escapes."""
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)


class Problems:
    """Collects mistakes; each place keeps what was found while reading it, else everything found while checking it."""

    def __init__(self) -> None:
        self._found: dict[tuple[Place, str, str], InputError] = {}
        self._unreadable: set[Place] = set()
        self.met = 0
        """How often a mistake was met, again or not: what is checked is right if this stays as it is."""

    def unreadable(self, place: Place, what: str, **parts: Any) -> None:
        """Add a mistake of the text itself; what the checks say of the same place would only repeat it."""
        self.add(place, what, **parts)
        self._unreadable.add(place)

    def add(
        self,
        place: Place,
        what: str,
        *,
        key: str = "",
        got: Any = _NOTHING,
        expected: str | None = None,
        did_you_mean: str | None = None,
        hint: str | None = None,
    ) -> None:
        """Add a mistake; the same mistake of the same value counts once, however many runs would meet it."""
        self.met += 1
        if place in self._unreadable:
            return
        shown = None if got is _NOTHING else show(got)
        # names from the file may be in any part, and reach a terminal
        error = InputError(
            printable(f"{clean(key)}: {what}" if key else what),
            where=str(place),
            got=shown,
            expected=expected and printable(expected),
            did_you_mean=did_you_mean and printable(did_you_mean),
            hint=hint and "\n".join(map(printable, hint.split("\n"))),
        )
        self._found.setdefault((place, f"{what} {shown}", key.rpartition(".")[2]), error)

    def sorted(self, first: str) -> list[InputError]:
        """Return the mistakes in the order of the file called ``first``, then those of the command line."""
        order = sorted(self._found, key=lambda entry: (entry[0].source != first, entry[0]))
        return [self._found[entry] for entry in order]

    def stop(self, first: str) -> None:
        """Raise all mistakes as one error, if there are any.

        Raises:
            InputErrors: with one error a mistake.
        """
        errors = self.sorted(first)
        if len(errors) > MAX_SHOWN:
            errors = [*errors[:MAX_SHOWN], InputError(f"… and {len(errors) - MAX_SHOWN} more", where=first)]
        if errors:
            raise InputErrors(errors)
