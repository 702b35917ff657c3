"""JSON Lines, read strictly: whatever is wrong names the file and the line."""

from __future__ import annotations

import codecs
import json
import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, TypeAlias

from harness.api import InputError, suggest
from harness_plugins.upstream.local import origin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    #: Takes what is wrong with one row, which is then left out; where there is none, it is raised.
    Bad: TypeAlias = Callable[[InputError], None]

#: What is wrong with a text of a file that was read with half surrogate pairs in place of bytes that are not UTF-8.
UNWRITABLE: Final = "not UTF-8, or half a surrogate pair, which is not a character"
_HALF: Final = "half a surrogate pair is not a character"
_UTF_16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Line(NamedTuple):
    """One row of a file."""

    number: int
    """From 1: the line, blank ones counted, or the place among the rows of a file without lines."""
    where: str
    """``file:number``, for messages."""
    row: dict[str, Any]


def read_lines(path: Path, bad: Bad | None = None) -> Iterator[Line]:
    """Read JSON Lines; blank lines are passed over. Messages name the file that ``path`` was unpacked from.

    Raises:
        InputError: a file without a row or of another encoding, or (unless ``bad`` takes it) a line that is not a JSON
            object, has a key twice, or is not UTF-8.
    """
    name = origin(path)
    empty = True
    with path.open("rb") as stream:
        for number, raw in enumerate(stream, start=1):
            if number == 1:
                check_encoding(raw, name)
                raw = raw.removeprefix(codecs.BOM_UTF8)  # noqa: PLW2901  # what is behind it is the line
            if not raw.strip():
                continue
            empty = False
            where = f"{name}:{number}"
            try:
                row = _row(raw, where)
            except InputError as error:
                if bad is None:
                    raise
                bad(error)
                continue
            yield Line(number, where, row)
    if empty:
        raise InputError("this file has no rows", where=name)


def check_encoding(beginning: bytes, name: str) -> None:
    """Raise InputError where a text begins as UTF-16 or UTF-32 does."""
    if beginning.startswith(_UTF_16) or b"\0" in beginning[:4]:
        raise InputError(
            "this text is UTF-16 or UTF-32, or no text at all", where=name, got=beginning[:8], expected="UTF-8",
            hint="iconv -f UTF-16 -t UTF-8 FILE writes the same text as UTF-8",
        )  # fmt: skip


def _row(raw: bytes, where: str) -> dict[str, Any]:
    try:
        row = DECODER.decode(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        what = f"not UTF-8 at byte {error.start + 1} of the line"
        raise InputError(what, where=where, got=raw[error.start :][:8]) from None
    except (ValueError, RecursionError) as error:
        raise broken(error, where) from None
    return checked(row, where, _HALF if b"\\u" in raw else None)


def checked(row: Any, where: str, unwritable: str | None = _HALF) -> dict[str, Any]:
    """Return a row that is a mapping, and whose texts can be written, which half a surrogate pair cannot.

    Raises:
        InputError: it is not; ``unwritable`` is what to say of texts, None where they need no look.
    """
    if not isinstance(row, dict):
        raise InputError("not a JSON object", where=where, got=type(row).__name__)
    if unwritable is not None:
        try:
            json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise InputError(f"{unwritable} (in the column {_unwritable(row)!r})", where=where) from None
    return row


def _unwritable(row: Mapping[str, Any]) -> str:
    """Return the first column that cannot be written as UTF-8."""
    for column, value in row.items():
        try:
            json.dumps({column: value}, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return column
    return ""


def broken(error: Exception, where: str) -> InputError:
    """Return what to say of a row that cannot be read as JSON."""
    if isinstance(error, _TwiceError):
        return InputError(str(error), where=where)
    if isinstance(error, json.JSONDecodeError):
        return InputError(f"broken JSON: {error.msg} at column {error.colno}", where=where)
    return InputError(f"broken JSON: {error}", where=where)


class _TwiceError(ValueError):
    """A key is in an object twice, of which a dictionary would keep the last."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise _TwiceError(f"the key {twice!r} is in one object twice")
    return row


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"the number {digits[:20]} is too large")
    return value


#: Reads JSON as its standard has it: no NaN, no infinity, no key twice.
DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_once)


def text(row: Mapping[str, Any], field: str, where: str, *, empty: bool = False, hint: str | None = None) -> str:
    """Return a field that must be a string, and unless ``empty`` more than white space.

    Raises:
        InputError: the field is missing, not a string, or blank.
    """
    value = present(row, field, where, hint=hint)
    if not isinstance(value, str):
        got = "null" if value is None else type(value).__name__
        raise InputError(f"the field {field!r} is not a text", where=where, got=got, hint=hint)
    if not empty and not value.strip():
        raise InputError(f"the field {field!r} is blank", where=where)
    return value


def present(row: Mapping[str, Any], field: str, where: str, *, hint: str | None = None) -> Any:
    """Return a field that must be there.

    Raises:
        InputError: it is not, and the message says which are.
    """
    if field not in row:
        raise InputError(
            f"the field {field!r} is missing", where=where, got=", ".join(sorted(row)) or "no field",
            did_you_mean=suggest(field, row), hint=hint,
        )  # fmt: skip
    return row[field]


def fold(value: str) -> str:
    """Return a text with its case and white space folded: what counts as the same instruction."""
    return " ".join(value.split()).casefold()
