"""The one layer between what is printed and the terminal: what its encoding lacks is shown in ASCII.

Everything that a command prints goes through standard output and standard error, whoever prints it: click, rich, a
plugin. So these two streams are where it is decided. Files are UTF-8 whatever the terminal is.
"""

from __future__ import annotations

import codecs
import encodings.ascii
import io
import shutil
import sys
import unicodedata
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Columns where nobody looks: a pipe, a file.
WIDTH: Final = 100

#: What replaces the characters that we print ourselves, and those that texts often have.
EQUIVALENTS: Final[Mapping[str, str]] = {
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2212\u2500\u2501\u2578\u257a", "-"),  # hyphens, dashes, minus, bars
    **dict.fromkeys("\u2018\u2019\u201a\u2039\u203a", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u00ab\u00bb", '"'),
    **dict.fromkeys("\u2502\u2503\u2551", "|"),
    "±": "+/-", "\u00d7": "x", "÷": "/", "·": "*", "•": "*", "—": "--", "…": "...", "═": "=",
    "↑": "^", "↓": "v", "→": "->", "←": "<-", "↔": "<->", "⇒": "=>", "≤": "<=", "≥": ">=", "≠": "!=", "≈": "~",
    "∞": "inf", "√": "sqrt", "°": " deg", "\u2044": "/", "§": "section ", "€": "EUR",
    "✓": "ok", "✔": "ok", "✗": "no", "✘": "no",
    "Æ": "AE", "æ": "ae", "Œ": "OE", "œ": "oe", "Ø": "O", "ø": "o", "ß": "ss", "Ł": "L", "ł": "l",
}  # fmt: skip

_HANDLER: Final = "harness-plain"
_ASCII: Final = "harness-ascii"


def plain(text: str) -> str:
    """Return a text in ASCII: an equivalent where there is one, a letter without its accents, or an escape."""
    return "".join(character if character.isascii() else _plain(character) for character in text)


def _plain(character: str) -> str:
    if character in EQUIVALENTS:
        return EQUIVALENTS[character]
    name = unicodedata.name(character, "")
    if name.startswith("BOX DRAWINGS"):
        return "+"
    if name.startswith("GREEK") and " LETTER " in name:
        word = name.rpartition(" LETTER ")[2].partition(" ")[0].lower()
        return word.capitalize() if "CAPITAL" in name else word
    bare = unicodedata.normalize("NFKD", character)
    letters = "".join(part if part.isascii() else EQUIVALENTS.get(part, "") for part in bare)
    if letters or unicodedata.category(character) in {"Mn", "Cf", "Zs"}:
        return letters
    return character.encode("ascii", "backslashreplace").decode()


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return plain(error.object[error.start : error.end]), error.end


def prepare() -> None:
    """Let standard output and standard error show whatever is printed, whatever their encoding."""
    codecs.register_error(_HANDLER, _replace)
    for stream in (sys.stdout, sys.stderr):
        if not isinstance(stream, io.TextIOWrapper) or stream.errors == _HANDLER:
            continue
        kept = "surrogateescape" if stream.errors == "surrogateescape" and _shows_all(stream.encoding) else _HANDLER
        # click takes ASCII for a mistake and writes UTF-8 instead, so ASCII gets another name
        is_ascii = codecs.lookup(stream.encoding).name == "ascii"
        stream.reconfigure(encoding=_ASCII if is_ascii else stream.encoding, errors=kept)


def shown(text: str, stream: TextIO | None = None) -> str:
    """Return a text as a stream (standard output unless given) will show it; it may be longer."""
    encoding = getattr(stream or sys.stdout, "encoding", None) or "utf-8"
    codecs.register_error(_HANDLER, _replace)
    return text.encode(encoding, _HANDLER).decode(encoding)


def width() -> int:
    """Return how many columns standard output has: those of the terminal, else :data:`WIDTH`."""
    return shutil.get_terminal_size((WIDTH, 24)).columns if sys.stdout.isatty() else WIDTH


def _shows_all(encoding: str) -> bool:
    return codecs.lookup(encoding).name.startswith("utf")


def _search(name: str) -> codecs.CodecInfo | None:
    if name.replace("_", "-") != _ASCII:
        return None
    known = encodings.ascii.getregentry()
    return codecs.CodecInfo(
        known.encode,
        known.decode,
        known.streamreader,
        known.streamwriter,
        known.incrementalencoder,
        known.incrementaldecoder,
        name=_ASCII,
    )


codecs.register(_search)
