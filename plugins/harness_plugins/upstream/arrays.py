"""A JSON array of objects, read one at a time, however large it is and however it is laid out."""

from __future__ import annotations

import codecs
import json
import re
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from harness.api import InputError
from harness_plugins.upstream.lines import DECODER, UNWRITABLE, Line, broken, checked
from harness_plugins.upstream.local import origin

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness_plugins.upstream.lines import Bad

_BLOCK: Final = 1 << 20
_WHITE: Final = re.compile(r"[ \t\r\n]*")
#: What the decoder says of an element that ends with the text, wherever it then points to.
_CUT: Final = ("Unterminated string", "Invalid \\uXXXX escape", "Invalid \\escape")
#: How far from its end a text may be wrong because it is cut within a word or a number.
_NEAR: Final = 32


def read_array(path: Path, bad: Bad | None = None) -> Iterator[Line]:
    """Yield the objects of a JSON array; messages name the file that ``path`` was unpacked from, line and column.

    Raises:
        InputError: the array cannot be followed to its end, or has no row; and, unless ``bad`` takes it, an element
            that is not a row.
    """
    name = origin(path)
    with path.open("rb") as stream:
        window = _Window(stream, name)
        window.next()
        window.place += 1  # the bracket by which the form was told
        number = 0
        while (mark := window.next()) != "]":
            if not mark:
                raise InputError("broken JSON: the array has no end", where=window.where())
            number += 1
            where = window.where()
            row, wrong = window.element(where)
            if wrong is None:
                yield Line(number, where, row)
            elif bad is None:
                raise wrong
            else:
                bad(wrong)
            mark = window.next()
            if mark == ",":
                window.place += 1
                if window.next() == "]":
                    raise InputError("broken JSON: a comma without a row behind it", where=window.where())
            elif mark != "]":
                what = "a comma or the end of the array is missing" if mark else "the array has no end"
                raise InputError(f"broken JSON: {what}", where=window.where())
        window.place += 1
        if window.next():
            raise InputError("something follows the end of the JSON array", where=window.where(),
                             expected="one array of objects in a file")  # fmt: skip
    if not number:
        raise InputError("this file has no rows", where=name)


class _Window:
    """The part of a file that is being read, with the place that it has in the whole."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream = stream
        self._name = name
        # what is not UTF-8 becomes half a surrogate pair, and so a mistake of its own row alone
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
        self._text = ""
        self.place = 0
        """Where in the text the next thing begins."""
        self._line = 1
        self._start = 0
        """Where in the text the line begins that ``_counted`` is on; below 0 where that is no longer held."""
        self._counted = 0

    def next(self) -> str:
        """Pass over white space and return the character behind it; nothing at the end of the file."""
        while True:
            match = _WHITE.match(self._text, self.place)
            assert match is not None
            self.place = match.end()
            if self.place < len(self._text):
                return self._text[self.place]
            if not self._more():
                return ""

    def where(self) -> str:
        """Return file, line and column of the place, from 1."""
        self._line += self._text.count("\n", self._counted, self.place)
        newline = self._text.rfind("\n", self._counted, self.place)
        self._start = self._start if newline < 0 else newline + 1
        self._counted = self.place
        return f"{self._name}:{self._line}:{self.place - self._start + 1}"

    def element(self, where: str) -> tuple[dict[str, Any], InputError | None]:
        """Return the element that begins here, and what is wrong with it where its end could be found.

        Raises:
            InputError: it is broken, so that nobody can say where the next one begins.
        """
        while True:
            try:
                value, end, wrong = self._decoded(where)
            except json.JSONDecodeError as error:
                cut = error.pos >= len(self._text) - _NEAR or error.msg.startswith(_CUT)
                if cut and self._more():
                    continue
                raise self._broken(error) from None
            if end == len(self._text) and self._more():  # a number may go on
                continue
            self.place = end
            if wrong is not None:
                return {}, wrong
            try:
                return checked(value, where, UNWRITABLE), None
            except InputError as error:
                return {}, error

    def _decoded(self, where: str) -> tuple[Any, int, InputError | None]:
        try:
            value, end = DECODER.raw_decode(self._text, self.place)
        except json.JSONDecodeError:
            raise
        except RecursionError as error:
            raise broken(error, where) from None
        except ValueError as error:  # JSON by its form alone: a key twice, NaN
            _, end = json.JSONDecoder().raw_decode(self._text, self.place)
            return None, end, broken(error, where)
        return value, end, None

    def _broken(self, error: json.JSONDecodeError) -> InputError:
        self.place = error.pos
        spot, _, column = self.where().rpartition(":")
        return InputError(f"broken JSON: {error.msg} at column {column}", where=spot)

    def _more(self) -> bool:
        """Read on, as much again as is held, and forget what was passed; whether the file had more."""
        raw = self._stream.read(max(_BLOCK, len(self._text) - self.place))
        read = self._decoder.decode(raw, final=not raw)
        if not raw:
            self._text += read
            return False
        self.where()
        self._text = self._text[self.place :] + read
        self._start -= self.place
        self.place = self._counted = 0
        return True
