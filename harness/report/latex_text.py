"""Text that LaTeX sets as it is, and about how wide it will be."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final

from harness.report.grid import visible

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What shows a character of another script: itself where the engine can, else its code.
CHARACTER: Final = (
    r"\providecommand{\othercharacter}[2]{\ifdefined\directlua#2\else\ifdefined\XeTeXversion#2\else U+#1\fi\fi}"
)

_SPECIAL: Final = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "`": r"\textasciigrave{}", "'": r"\textquotesingle{}", '"': r"{\ttfamily\char34}",
    "[": "{[}", "]": "{]}", "*": "{*}", "±": r"$\pm$", "×": r"$\times$", "−": "$-$", "↑": r"$\uparrow$",
    "↓": r"$\downarrow$", "→": r"$\rightarrow$", "≥": r"$\geq$", "≤": r"$\leq$", "÷": r"$\div$",
    "σ": r"$\sigma$", "≈": r"$\approx$", "½": r"$\frac{1}{2}$", "√": r"$\surd$", "Δ": r"$\Delta$", "λ": r"$\lambda$",
    "\u03b1": r"$\alpha$", "\u03b2": r"$\beta$", "\u03b3": r"$\gamma$", "τ": r"$\tau$", "π": r"$\pi$", "μ": r"$\mu$",
    "²": r"$^2$", "·": r"\textperiodcentered{}", "…": r"\ldots{}", "\u2019": r"\textquoteright{}",
    "\u2018": r"\textquoteleft{}", "\u201c": r"\textquotedblleft{}", "\u201d": r"\textquotedblright{}",
    "–": r"\textendash{}", "—": r"\textemdash{}", "\u00a0": "~", "†": r"\dag{}", "‡": r"\ddag{}", "§": r"\S{}",
}  # fmt: skip

#: Accents that every encoding of a Latin font has.
_ACCENTS: Final = set("\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327")
_LETTERS: Final = set("ßØøÆæŒœŁł")

#: Widths of Computer Modern Roman at 10 pt, in points; what is not here is taken to be as wide as a capital.
_WIDTHS: Final = {
    **dict.fromkeys("0123456789ao/–*?", 5.0), **dict.fromkeys("bdhnpuSδ", 5.56), **dict.fromkeys("cez", 4.45),
    **dict.fromkeys("fj", 3.06), **dict.fromkeys("ilI.,:;'!|-[]", 2.78), **dict.fromkeys("kqvxy", 5.28),
    **dict.fromkeys("rst()", 3.95), **dict.fromkeys(" ", 3.34), "m": 8.34, "w": 7.23, "W": 10.28, "M": 9.17, "I": 3.62,
    "g": 5.0, "J": 5.14, "%": 8.34, "@": 7.78, "L": 6.25, "Z": 6.12, "_": 5.0, "…": 9.0,
}  # fmt: skip
_CAPITAL: Final = 7.79
#: Of a font of 8 pt, whose letters are wider for their height, and what is set beside the words.
_SMALL: Final = 0.86

#: Points from which a word may be broken, after every so many; TeX does it where nothing else helps.
_LONGEST, _EACH = 60.0, 20.0
_BREAK: Final = r"\penalty500{}"


def escaped(text: str) -> str:
    """Return text that LaTeX sets as it is; ``--`` is not a dash, and a leading bracket not an argument."""
    return "".join(_pieces(_one_line(text)))


def breakable(text: str) -> str:
    """Return the same for a paragraph: a word that may be wider than its line can be broken."""
    return " ".join(_broken(word) for word in _one_line(text).split(" "))


def slug(text: str) -> str:
    """Return a text as a part of a label: letters, digits and hyphens."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-") or "table"


def width_of(text: str) -> float:
    """Return about how wide a text is at 8 pt, in points, and rather too much than too little."""
    return _SMALL * sum(map(_width, visible(text)))


def lines_of(text: str, room: float) -> list[str]:
    """Return a heading in lines: broken at spaces, so that none is wider than ``room`` unless a word is."""
    lines: list[str] = []
    for word in _one_line(text).split(" "):
        if lines and width_of(f"{lines[-1]} {word}") <= room:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines or [""]


def _one_line(text: str) -> str:
    return visible(re.sub(r"\s*\n\s*", " ", text.strip()))


def _broken(word: str) -> str:
    if width_of(word) <= _LONGEST:
        return escaped(word)
    found, since = [], 0.0
    for character, piece in zip(word, _pieces(word), strict=True):
        wide = width_of(character)
        if since and since + wide > _EACH:
            found.append(_BREAK)
            since = 0.0
        found.append(piece)
        since += wide
    return "".join(found)


def _pieces(text: str) -> Iterator[str]:
    before = ""
    for character in text:
        ligature = character == before and character in "-,"  # two of them would be another character
        yield "{}" * ligature + _piece(character)
        before = character


def _piece(character: str) -> str:
    if character in _SPECIAL:
        return _SPECIAL[character]
    return character if _is_plain(character) else rf"\othercharacter{{{ord(character):04X}}}{{{character}}}"


def _is_plain(character: str) -> bool:
    """Return whether every engine sets the character with the fonts that it begins with."""
    if character.isascii() or character in _LETTERS:
        return True
    apart = unicodedata.normalize("NFD", character)
    return "\u00c0" <= character <= "\u017f" and len(apart) == 2 and apart[0].isascii() and apart[1] in _ACCENTS


def _width(character: str) -> float:
    if character in _SPECIAL or _is_plain(character):
        return _WIDTHS.get(character, _CAPITAL)
    return 7 * _CAPITAL
