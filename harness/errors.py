"""The errors a user can cause or must know about: each says what, where, what was found and what was expected.

Anything else that escapes is a defect of the harness and keeps its traceback.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class HarnessError(Exception):
    """One clear message: ``where: what, got …; expected …; did you mean …?`` and, on a line of its own, a hint."""

    exit_code: ClassVar[int] = 2

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        got: object = None,
        expected: str | None = None,
        did_you_mean: str | None = None,
        hint: str | None = None,
    ) -> None:
        """Keep the parts; the text is put together in ``__str__``."""
        super().__init__(what)
        self.what = what
        self.where = where
        self.got = got
        self.expected = expected
        self.did_you_mean = did_you_mean
        self.hint = hint

    def __str__(self) -> str:
        """Return the message on one line, with the hint (if any) on the next."""
        text = f"{self.where}: {self.what}" if self.where else self.what
        if self.got is not None:
            text += f", got {self.got!r}"
        if self.expected:
            text += f"; expected {self.expected}"
        if self.did_you_mean:
            text += f"; did you mean {self.did_you_mean!r}?"
        if self.hint:
            text += f"\n  {self.hint}"
        return text

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the keyword parts when the error crosses a process boundary."""
        return _rebuild, (type(self), self.what, self.where, self.got, self.expected, self.did_you_mean, self.hint)


def _rebuild(kind: type[HarnessError], what: str, *parts: object) -> HarnessError:
    names = ("where", "got", "expected", "did_you_mean", "hint")
    return kind(what, **dict(zip(names, parts, strict=True)))  # type: ignore[arg-type]  # the parts are what __init__ stored


class InputError(HarnessError):
    """The benchmark file, an option, a data file or a model folder is wrong (exit code 2)."""


class PluginError(InputError):
    """A plugin is missing, failed to load or broke its contract (exit code 2)."""


class InputErrors(InputError):
    """All the mistakes of one file at once."""

    def __init__(self, errors: Iterable[HarnessError]) -> None:
        """Keep the single errors, in the order of the file."""
        self.errors = tuple(errors)
        super().__init__("\n".join(str(error) for error in self.errors))

    def __reduce__(self) -> tuple[object, ...]:
        """Rebuild from the single errors."""
        return InputErrors, (self.errors,)


class MachineError(HarnessError):
    """The machine cannot do it: disk full, folder not writable, hub out of reach (exit code 3)."""

    exit_code = 3


class StorageError(MachineError):
    """Nothing can be written where results lie (disk full, no permission): no other stage would fare better."""

    read_only = False
    """Whether that is so because writing is not allowed there at all."""


class StageError(HarnessError):
    """One stage failed; the others go on and its cells are marked (exit code 1)."""

    exit_code = 1


class DivergedError(StageError):
    """A loss, gradient or weight was not finite."""


def first_line(error: BaseException) -> str:
    """Return the first line of what another library's exception says, or what kind it is where it says nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def traced(message: str, place: str) -> str:
    """Return a message with where its traceback lies."""
    return f"{message}{_TRACED}{place})"


def reason(message: str) -> str:
    """Return a message without where its traceback lies, which is another place for every failure."""
    return message.partition(_TRACED)[0]


_TRACED = "\n  (traceback in "


def suggest(name: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate closest to ``name``, or None when none is close."""
    close = difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.6)
    return close[0] if close else None


def raise_collected(errors: Mapping[str, HarnessError]) -> None:
    """Raise what was collected by its text, all at once; nothing where nothing was.

    Raises:
        HarnessError: the one that there is.
        InputErrors: there are several.
    """
    if len(errors) == 1:
        raise next(iter(errors.values()))
    if errors:
        raise InputErrors(errors.values())
