"""Files of one's own in several forms, and the options of their data set."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from harness_plugins.datasets.files.fields import Columns, FilesOptions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def options(**given: Any) -> dict[str, Any]:
    """Return options as a file has them: those that are called as a column's role is go below ``columns``."""
    columns = {name: value for name, value in given.items() if name in Columns.model_fields}
    others = {name: value for name, value in given.items() if name not in columns}
    return {**others, "columns": columns} if columns else others


def files_options(**given: Any) -> FilesOptions:
    return FilesOptions(**options(**given))


def as_csv(rows: Sequence[Mapping[str, Any]], delimiter: str = ",") -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def as_parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    import pyarrow.lib
    import pyarrow.parquet

    stream = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.lib.Table.from_pylist(list(rows)), stream)
    return stream.getvalue()


def as_zstd(content: bytes) -> bytes:
    import pyarrow.lib

    out = pyarrow.lib.BufferOutputStream()
    with pyarrow.lib.CompressedOutputStream(out, "zstd") as stream:
        stream.write(content)
    packed: bytes = out.getvalue().to_pybytes()
    return packed
