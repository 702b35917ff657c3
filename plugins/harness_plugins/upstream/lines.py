"""JSON Lines, read strictly: whatever is wrong names the file and the line."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from harness.api import InputError, suggest
from harness_plugins.upstream.local import origin

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


class Line(NamedTuple):
    """One line of a file."""

    number: int
    """From 1, blank lines counted."""
    where: str
    """``file:number``, for messages."""
    row: dict[str, Any]


def read_lines(path: Path) -> Iterator[Line]:
    """Read JSON Lines; blank lines are passed over. Messages name the file that ``path`` was unpacked from.

    Raises:
        InputError: a line that is no JSON object or no UTF-8, or a file without a row.
    """
    name = origin(path)
    empty = True
    with path.open("rb") as stream:
        for number, raw in enumerate(stream, start=1):
            if raw.strip():
                empty = False
                where = f"{name}:{number}"
                yield Line(number, where, _row(raw, where, first=number == 1))
    if empty:
        raise InputError("this file has no rows", where=name)


def _row(raw: bytes, where: str, *, first: bool) -> dict[str, Any]:
    try:
        row = json.loads(raw.decode("utf-8-sig" if first else "utf-8"), parse_constant=_no_number, parse_float=_finite)
        if b"\\u" in raw:
            json.dumps(row, ensure_ascii=False).encode()  # half a surrogate pair could be read, but never written
    except UnicodeDecodeError as error:
        raise InputError("not UTF-8", where=where, got=raw[error.start :][:8]) from None
    except UnicodeEncodeError:
        raise InputError("half a surrogate pair stands for no character", where=where) from None
    except json.JSONDecodeError as error:
        raise InputError(f"broken JSON: {error.msg} at column {error.colno}", where=where) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"broken JSON: {error}", where=where) from None
    if not isinstance(row, dict):
        raise InputError("not a JSON object", where=where, got=type(row).__name__)
    return row


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"the number {digits[:20]} is too large")
    return value


def text(row: Mapping[str, Any], field: str, where: str, *, empty: bool = False, hint: str | None = None) -> str:
    """Return a field that must be a string, and unless ``empty`` more than white space.

    Raises:
        InputError: the field is missing, no string, or blank.
    """
    value = present(row, field, where, hint=hint)
    if not isinstance(value, str):
        raise InputError(f"the field {field!r} is no text", where=where, got=type(value).__name__, hint=hint)
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
