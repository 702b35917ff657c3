"""Rows in whatever form they have: JSON Lines, a JSON array, CSV, Parquet, Arrow, or a folder of ``save_to_disk``.

The form is told by content, and by name for CSV.
"""

from __future__ import annotations

import codecs
import csv
import json
import sys
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from harness.api import InputError
from harness_plugins.upstream.lines import DECODER, Line, broken, check_encoding, checked, read_lines
from harness_plugins.upstream.local import origin
from harness_plugins.upstream.saved import called, saved_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from harness_plugins.upstream.lines import Bad

Form: TypeAlias = Literal["lines", "array", "csv", "parquet", "arrow", "saved"]

#: The ends of names that a file of rows may have, before ``.gz``.
ENDINGS: Final = (".jsonl", ".json", ".csv", ".parquet", ".arrow")
#: What is read, in the words of a message.
READABLE: Final = "JSON Lines, a JSON array of objects, CSV (in a file called .csv), Parquet or Arrow, plain or gzip"
_PARQUET: Final = b"PAR1"
#: Arrow's two layouts: the file, and the stream, which is what `datasets` writes.
_ARROW_FILE: Final = b"ARROW1"
_ARROW_STREAM: Final = b"\xff\xff\xff\xff"
#: How files begin that people take for one of these.
_OTHERS: Final = {
    b"PK\x03\x04": "a zip archive or an Excel file",
    b"\x28\xb5\x2f\xfd": "compressed by Zstandard",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ": "compressed by xz",
}
_UNWRITABLE: Final = "not UTF-8, or half a surrogate pair, which is not a character"
_WHITE: Final = " \t\r\n"


def read_rows(path: Path, bad: Bad | None = None) -> Iterator[Line]:
    """Yield the rows of a file or saved folder; messages name what ``path`` was copied from, and the line or row.

    The cells of a CSV file are texts, whatever they look like.

    Raises:
        InputError: a file of another form, or without rows; and, unless ``bad`` takes it, a row that is wrong.
    """
    readers = {
        "lines": read_lines, "array": _array, "csv": _csv, "parquet": _parquet, "arrow": _arrow, "saved": _saved,
    }  # fmt: skip
    return readers[form(path)](path, bad)


def form(path: Path) -> Form:
    """Return the form of the rows of a file; a folder is one of ``save_to_disk``.

    Raises:
        InputError: it is none of those that are supported.
    """
    if path.is_dir():
        return "saved"
    name = origin(path)
    bare = name.lower().removesuffix(".gz")
    with path.open("rb") as stream:
        beginning = stream.read(4096)
    if beginning.startswith(_PARQUET):
        return "parquet"
    if beginning.startswith((_ARROW_FILE, _ARROW_STREAM)):
        return "arrow"
    for magic, what in _OTHERS.items():
        if beginning.startswith(magic):
            raise InputError(f"this file is {what}", where=name, expected=READABLE)
    for ending, kind in ((".parquet", "a Parquet"), (".arrow", "an Arrow")):
        if bare.endswith(ending):
            raise InputError(f"this is not {kind} file", where=name, got=beginning[:8], expected=READABLE)
    check_encoding(beginning, name)
    if bare.endswith(".csv"):
        return "csv"
    start = beginning.removeprefix(codecs.BOM_UTF8).lstrip()
    if start.startswith(b"["):
        return "array"
    if start and not start.startswith(b"{"):
        raise InputError("this file does not begin as JSON does", where=name, got=start[:20], expected=READABLE)
    return "lines"


def _array(path: Path, bad: Bad | None) -> Iterator[Line]:
    """Yield the objects of a JSON array, however it is laid out."""
    name = origin(path)
    # what is not UTF-8 becomes half a surrogate pair, and so a mistake of its own row alone
    text = path.read_bytes().decode("utf-8-sig", errors="surrogateescape")
    place, number, line, counted = _behind(text, text.index("[") + 1), 0, 1, 0
    while not text.startswith("]", place):
        line, counted = line + text.count("\n", counted, place), place
        where = f"{name}:{line}:{place - text.rfind(chr(10), 0, place)}"
        number += 1
        row, end, wrong = _element(text, place, where)
        if wrong is None:
            yield Line(number, where, row)
        elif bad is None:
            raise wrong
        else:
            bad(wrong)
        place = _behind(text, end)
        if text.startswith(",", place):
            place = _behind(text, place + 1)
            if text.startswith("]", place):
                raise InputError("broken JSON: a comma without a row behind it", where=_spot(name, text, place))
        elif not text.startswith("]", place):
            what = "a comma or the end of the array is missing" if place < len(text) else "the array has no end"
            raise InputError(f"broken JSON: {what}", where=_spot(name, text, place))
    if (rest := _behind(text, place + 1)) < len(text):
        raise InputError(
            "something follows the end of the JSON array", where=_spot(name, text, rest), expected=READABLE
        )
    if not number:
        raise InputError("this file has no rows", where=name)


def _element(text: str, place: int, where: str) -> tuple[dict[str, Any], int, InputError | None]:
    """Return one element, the place behind it, and what is wrong with it where its end could be found.

    Raises:
        InputError: it is broken, so that nobody can say where the next one begins.
    """
    try:
        value, end = DECODER.raw_decode(text, place)
    except json.JSONDecodeError as error:
        spot = f"{where.rpartition(':')[0].rpartition(':')[0]}:{error.lineno}"
        raise InputError(f"broken JSON: {error.msg} at column {error.colno}", where=spot, expected=READABLE) from None
    except RecursionError as error:
        raise broken(error, where) from None
    except ValueError as error:  # JSON by its form alone: a key twice, NaN
        _, end = json.JSONDecoder().raw_decode(text, place)
        return {}, end, broken(error, where)
    try:
        return checked(value, where, _UNWRITABLE), end, None
    except InputError as error:
        return {}, end, error


def _behind(text: str, place: int) -> int:
    while place < len(text) and text[place] in _WHITE:
        place += 1
    return place


def _spot(name: str, text: str, place: int) -> str:
    return f"{name}:{text.count(chr(10), 0, place) + 1}:{place - text.rfind(chr(10), 0, place)}"


def _csv(path: Path, bad: Bad | None) -> Iterator[Line]:
    """Yield the rows of a CSV file whose first row names the columns."""
    name = origin(path)
    csv.field_size_limit(sys.maxsize)  # the default refuses documents
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        reader = csv.reader(stream, strict=True)
        header: list[str] = []
        number = 0
        while True:
            line = reader.line_num + 1
            where = f"{name}:{line}"
            try:
                cells = next(reader)
            except StopIteration:
                break
            except csv.Error as error:  # such as a quote that is never closed
                raise InputError(f"broken CSV: {error}", where=where) from None
            if not cells:
                continue
            if not header:
                header = _header(cells, where)
                continue
            number += 1
            try:
                row = _cells(header, cells, where)
            except InputError as error:
                if bad is None:
                    raise
                bad(error)
                continue
            yield Line(line, where, row)
    if not number:
        raise InputError("this file has no rows", where=name)


def _cells(header: list[str], cells: list[str], where: str) -> dict[str, Any]:
    if len(cells) != len(header):
        raise InputError(
            "this row has another number of cells than the first has names", where=where, got=len(cells),
            expected=f"{len(header)}: {', '.join(header)}",
        )  # fmt: skip
    return checked(dict(zip(header, cells, strict=True)), where, _UNWRITABLE)


def _header(cells: list[str], where: str) -> list[str]:
    twice = next((cell for place, cell in enumerate(cells) if cell in cells[:place]), None)
    if twice is not None:
        raise InputError("two columns have one name", where=where, got=twice)
    return cells


def _parquet(path: Path, bad: Bad | None) -> Iterator[Line]:
    """Yield the rows of a Parquet file."""
    import pyarrow.parquet

    def rows() -> Iterator[dict[str, Any]]:
        file = pyarrow.parquet.ParquetFile(path)
        _header(list(file.schema_arrow.names), origin(path))
        for batch in file.iter_batches():
            yield from batch.to_pylist()

    return _json_rows(_readable(rows(), origin(path), "Parquet"), origin(path), bad)


def _arrow(path: Path, bad: Bad | None) -> Iterator[Line]:
    """Yield the rows of an Arrow file of either layout."""
    import pyarrow.ipc

    def rows() -> Iterator[dict[str, Any]]:
        with path.open("rb") as stream:
            is_file = stream.read(len(_ARROW_FILE)) == _ARROW_FILE
            stream.seek(0)
            reader = pyarrow.ipc.open_file(stream) if is_file else pyarrow.ipc.open_stream(stream)
            _header(list(reader.schema.names), origin(path))
            batches = map(reader.get_batch, range(reader.num_record_batches)) if is_file else reader
            for batch in batches:
                yield from batch.to_pylist()

    return _json_rows(_readable(rows(), origin(path), "Arrow"), origin(path), bad)


def _saved(path: Path, bad: Bad | None) -> Iterator[Line]:
    """Yield the rows of a folder that ``Dataset.save_to_disk`` wrote."""
    return _json_rows(saved_rows(path), called(path), bad, "saved data set")


def _readable(rows: Iterator[dict[str, Any]], name: str, kind: str) -> Iterator[dict[str, Any]]:
    import pyarrow.lib

    try:
        yield from rows
    except (pyarrow.lib.ArrowException, UnicodeDecodeError, OSError) as error:
        raise InputError(f"this {kind} file cannot be read: {error}", where=name) from None


def _json_rows(rows: Iterable[dict[str, Any]], name: str, bad: Bad | None, what: str = "file") -> Iterator[Line]:
    """Yield rows whose values JSON has."""
    number = 0
    for number, row in enumerate(rows, start=1):  # whether there was one
        where = f"{name}, row {number}"
        try:
            json.dumps(row, allow_nan=False)
        except (TypeError, ValueError) as error:
            wrong = InputError(
                f"the column {_culprit(row)!r} has a value that JSON does not have: {error}", where=where,
                expected="texts, finite numbers, true, false, null, and lists and mappings of these",
            )  # fmt: skip
            if bad is None:
                raise wrong from None
            bad(wrong)
            continue
        yield Line(number, where, row)
    if not number:
        raise InputError(f"this {what} has no rows", where=name)


def _culprit(row: dict[str, Any]) -> str:
    """Return the first column whose value JSON does not have."""
    for column, value in row.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            return column
    return ""
