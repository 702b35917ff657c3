"""The head of a GGUF file: sizes and names, without the vocabulary, whose texts the package gguf takes seconds to read.

The form is https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian.
"""

from __future__ import annotations

import math
import mmap
import struct
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

#: struct's letters for the types of values that have one size, by the number that stands for the type.
_PLAIN: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _ARRAY = 8, 9
_VERSIONS: Final = (2, 3)


def read_header(file: Path) -> tuple[dict[str, Any], int]:
    """Return the metadata of a GGUF file without its arrays, and how many numbers all its tensors have.

    Raises:
        ValueError: it is none, or has another form.
        OSError: it cannot be read.
    """
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            return _header(_Cursor(content))
        except (struct.error, IndexError, KeyError) as error:
            raise ValueError(f"{file} ends early, or has another form: {error}") from None


class _Cursor:
    def __init__(self, content: mmap.mmap) -> None:
        self._content = content
        self._at = 0

    def take(self, letter: str) -> Any:
        (value,) = struct.unpack_from(f"<{letter}", self._content, self._at)
        self._at += struct.calcsize(f"<{letter}")
        return value

    def text(self) -> str:
        length = self.take("Q")
        if self._at + length > len(self._content):
            raise IndexError(length)
        self._at += length
        return self._content[self._at - length : self._at].decode("utf-8", "replace")

    def skip(self, kind: int) -> None:
        """Pass over an array."""
        count = self.take("Q")
        if kind in _PLAIN:
            self._at += count * struct.calcsize(f"<{_PLAIN[kind]}")
            return
        length = struct.Struct("<Q").unpack_from
        for _ in range(count):  # a vocabulary has a hundred thousand
            if kind == _ARRAY:
                self.skip(self.take("I"))
            else:
                self._at += 8 + length(self._content, self._at)[0]


def _header(cursor: _Cursor) -> tuple[dict[str, Any], int]:
    if cursor.take("4s") != b"GGUF" or cursor.take("I") not in _VERSIONS:
        raise ValueError("no GGUF file of a version that is known")
    tensors, count = cursor.take("Q"), cursor.take("Q")
    told: dict[str, Any] = {}
    for _ in range(count):
        name, kind = cursor.text(), cursor.take("I")
        if kind == _ARRAY:
            cursor.skip(cursor.take("I"))
        else:
            told[name] = cursor.text() if kind == _TEXT else cursor.take(_PLAIN[kind])
    numbers = 0
    for _ in range(tensors):
        cursor.text()
        numbers += math.prod(cursor.take("Q") for _ in range(cursor.take("I")))
        cursor.take("I"), cursor.take("Q")
    return told, numbers
