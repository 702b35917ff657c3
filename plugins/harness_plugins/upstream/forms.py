"""Rows in whatever form they have: JSON Lines, a JSON array, CSV, Parquet, Arrow, or a folder of ``save_to_disk``.

However large a file is, rows are read one at a time, or a small batch of them.

The form is told by content, and by name for CSV.
"""

from __future__ import annotations

import codecs
import csv
import json
import sys
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from harness.api import InputError
from harness_plugins.upstream.arrays import read_array
from harness_plugins.upstream.lines import UNWRITABLE, Line, check_encoding, checked, read_lines
from harness_plugins.upstream.local import bare_name, origin
from harness_plugins.upstream.saved import called, saved_rows

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from pathlib import Path

    from harness_plugins.upstream.lines import Bad

Form: TypeAlias = Literal["lines", "array", "csv", "parquet", "arrow", "saved"]

#: The ends of names that a file of rows may have, before ``.gz`` or ``.zst``.
ENDINGS: Final = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow")
#: What is read, in the words of a message.
READABLE: Final = (
    "JSON Lines, a JSON array of objects, CSV (in a file called .csv or .tsv), Parquet or Arrow, plain, gzip or"
    " Zstandard"
)
#: Rows of a Parquet file that are read together.
_BATCH: Final = 1000
_PARQUET: Final = b"PAR1"
#: Arrow's two layouts: the file, and the stream, which is what `datasets` writes.
_ARROW_FILE: Final = b"ARROW1"
_ARROW_STREAM: Final = b"\xff\xff\xff\xff"
#: How files begin that people take for one of these.
_OTHERS: Final = {
    b"PK\x03\x04": "a zip archive or an Excel file",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ": "compressed by xz",
}


def read_rows(path: Path, bad: Bad | None = None, drop: Collection[str] = ()) -> Iterator[Line]:
    """Yield the rows of a file or saved folder; messages name what ``path`` was copied from, and the line or row.

    The cells of a CSV file are texts, whatever they look like. Columns to ``drop`` are not looked at.

    Raises:
        InputError: a file of another form, or without rows; and, unless ``bad`` takes it, a row that is wrong.
    """
    kind = form(path)
    if kind in {"lines", "array", "csv"}:
        lines = {"lines": read_lines, "array": read_array, "csv": _csv}[kind](path, bad)
        return (Line(number, where, without(row, drop)) for number, where, row in lines) if drop else lines
    stored = {"parquet": _parquet, "arrow": _arrow, "saved": saved_rows}[kind](path)
    name = called(path) if kind == "saved" else origin(path)
    return json_rows(stored, name, bad, drop, what="saved data set" if kind == "saved" else "file")


def without(row: dict[str, Any], drop: Collection[str]) -> dict[str, Any]:
    """Return a row without some columns."""
    return {name: value for name, value in row.items() if name not in drop}


def form(path: Path) -> Form:
    """Return the form of the rows of a file; a folder is one of ``save_to_disk``.

    Raises:
        InputError: it is none of those that are supported.
    """
    if path.is_dir():
        return "saved"
    name = origin(path)
    bare = bare_name(name)
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
    if bare.endswith((".csv", ".tsv")):
        return "csv"
    start = beginning.removeprefix(codecs.BOM_UTF8).lstrip()
    if start.startswith(b"["):
        return "array"
    if start and not start.startswith(b"{"):
        raise InputError("this file does not begin as JSON does", where=name, got=start[:20], expected=READABLE)
    return "lines"


def _csv(path: Path, bad: Bad | None) -> Iterator[Line]:
    """Yield the rows of a CSV file whose first row names the columns."""
    name = origin(path)
    csv.field_size_limit(sys.maxsize)  # the default refuses documents
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        delimiter = _delimiter(stream.readline())
        stream.seek(0)
        reader = csv.reader(stream, delimiter=delimiter, strict=True)
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


def _delimiter(first: str) -> str:
    """Return what parts the cells: a comma, or where the names have none, the tab or semicolon that they have."""
    return next((mark for mark in (",", "\t", ";") if mark in first), ",")


def _cells(header: list[str], cells: list[str], where: str) -> dict[str, Any]:
    if len(cells) != len(header):
        what = f"{header[len(cells)]!r} is missing" if len(cells) < len(header) else f"more follow {header[-1]!r}"
        raise InputError(
            f"this row has another number of cells than the first has names: {what}", where=where, got=len(cells),
            expected=f"{len(header)}: {', '.join(header)}",
        )  # fmt: skip
    return checked(dict(zip(header, cells, strict=True)), where, UNWRITABLE)


def _header(cells: list[str], where: str) -> list[str]:
    twice = next((cell for place, cell in enumerate(cells) if cell in cells[:place]), None)
    if twice is not None:
        raise InputError("two columns have one name", where=where, got=twice)
    return cells


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a Parquet file."""
    import pyarrow.parquet

    def rows() -> Iterator[dict[str, Any]]:
        file = pyarrow.parquet.ParquetFile(path)
        _header(list(file.schema_arrow.names), origin(path))
        for batch in file.iter_batches(batch_size=_BATCH):
            yield from batch.to_pylist()

    return _readable(rows(), origin(path), "Parquet")


def _arrow(path: Path) -> Iterator[dict[str, Any]]:
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

    return _readable(rows(), origin(path), "Arrow")


def _readable(rows: Iterator[dict[str, Any]], name: str, kind: str) -> Iterator[dict[str, Any]]:
    import pyarrow.lib

    number = 0
    try:
        for number, row in enumerate(rows, start=1):  # noqa: B007  # which row was the last
            yield row
    except (pyarrow.lib.ArrowException, UnicodeDecodeError, OSError) as error:
        behind = f" behind row {number}" if number else ""
        raise InputError(f"this {kind} file cannot be read{behind}: {error}", where=name) from None


def json_rows(
    rows: Iterable[dict[str, Any]], name: str, bad: Bad | None, drop: Collection[str] = (), *, what: str = "file"
) -> Iterator[Line]:
    """Yield rows whose values JSON has, and their places by number."""
    number = 0
    for number, whole in enumerate(rows, start=1):  # whether there was one
        where = f"{name}, row {number}"
        row = without(whole, drop) if drop else whole
        try:
            json.dumps(row, allow_nan=False)
        except (TypeError, ValueError) as error:
            wrong = InputError(
                f"the column {_culprit(row)!r} has a value that JSON does not have: {error}", where=where,
                expected="texts, finite numbers, true, false, null, and lists and mappings of these",
                hint=f"drop: [{_culprit(row)}] leaves the column out",
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
