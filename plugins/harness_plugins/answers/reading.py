"""What a text says the answer is: strictly, where it says nothing else, and flexibly, wherever it says it."""

from __future__ import annotations

import re
import string
from fractions import Fraction
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Digits with commas at the thousands or without, then decimals, an exponent of three digits at most, a denominator.
_UNSIGNED: Final = (
    r"(?:(?:\d{1,3}(?:,\d{3})+(?![\d,]*\d)|\d+)(?:\.\d+)?|(?<![\d.])\.\d+)(?:[eE][+-]?\d{1,3}(?!\d))?"
    r"(?:/0*[1-9]\d*(?![\d./]))?"
)
_ALONE: Final = re.compile(rf"[+-]?{_UNSIGNED}", re.ASCII)
#: A sign behind a word, a number or a bracket is an operator.
_ANYWHERE: Final = re.compile(rf"(?:(?<![\w)\]])[+-])?[$€£]?{_UNSIGNED}", re.ASCII)
#: Longer runs of digits are no answers, and Python converts none beyond 4,300.
_DIGITS: Final = 1000

#: Marks that announce an answer, the surest first; the last of a kind counts.
_MARKS: Final = (
    re.compile(r"<answer>(.*?)</answer>", re.DOTALL | re.IGNORECASE),
    re.compile(r"\\boxed\{([^{}]*)\}"),
    re.compile(r"####[ \t]*(\S.*)"),
    re.compile(r"\banswer(?:[ \t]+is\b[ \t]*:?|[ \t]*[:=])[ \t]*(\S.*)", re.IGNORECASE),
)

_NO_PUNCTUATION: Final = str.maketrans("", "", string.punctuation)
_LETTER: Final = re.compile(r"\(([A-Za-z])\)|([A-Za-z])[.:)]?")
#: ``(B) Paris``, ``B. Paris`` or the letter alone; behind a mark any capital, for no article begins there.
_LEADING: Final = re.compile(r"\(([A-Za-z])\)|([A-Za-z])(?:[.:)](?=\s|$)|$)")
_CAPITAL: Final = re.compile(r"([A-Z])(?![\w'])")
_BRACKETED: Final = re.compile(r"\(([A-Za-z])\)")
#: A capital by itself that is not the article or the pronoun.
_STANDING: Final = re.compile(r"(?<![\w'])(?:[B-HJ-Z]|[AI](?=[.:)]|\s*$))(?![\w'])")


def marked(text: str) -> str | None:
    """Return what stands behind the surest mark: an answer tag, a LaTeX box, ``####`` or "answer is"; None without."""
    for mark in _MARKS:
        found = mark.findall(text)
        if found:
            return str(found[-1]).strip()
    return None


def number_alone(text: str) -> Fraction | None:
    """Return the number that a text is, commas at the thousands, decimals and a/b included; None where it is none."""
    text = text.strip().replace("−", "-")
    return _value(text) if _ALONE.fullmatch(text) else None


def number_in(text: str) -> Fraction | None:
    """Return the first number behind a mark, else the last one of the text; None where there is none."""
    text = text.replace("−", "-")
    behind = marked(text)
    if behind is not None and (found := _ANYWHERE.search(behind)):
        return _value(found.group())
    listed = _ANYWHERE.findall(text)
    return _value(listed[-1]) if listed else None


def _value(text: str) -> Fraction | None:
    plain = text.translate({ord(sign): None for sign in ",$€£"})
    if len(plain) > _DIGITS:
        return None
    whole, _, denominator = plain.partition("/")
    return Fraction(whole) / Fraction(denominator or 1)


def letter_alone(text: str) -> str | None:
    """Return the letter that a text is, in brackets or with a stop or not; None where it is none."""
    found = _LETTER.fullmatch(text.strip())
    return found[found.lastindex or 0] if found else None


def letter_in(text: str) -> str | None:
    """Return the letter that a text chooses, as a capital.

    The one that begins what stands behind a mark, else the one that begins the text (``B. Paris``), else the last one
    in brackets, else the last capital by itself.
    """
    behind = marked(text)
    for part, form in ((behind, _LEADING), (behind, _CAPITAL), (text.strip(), _LEADING)):
        if part is not None and (found := form.match(part)):
            return found[found.lastindex or 0].upper()
    listed = _BRACKETED.findall(text) or _STANDING.findall(text)
    return str(listed[-1]).upper() if listed else None


def choice_in(text: str, choices: Sequence[str]) -> str | None:
    """Return the choice that stands first behind a mark, else the one that stands last; whole words, in any case."""
    longest = sorted(choices, key=len, reverse=True)
    form = re.compile(rf"(?<!\w)(?:{'|'.join(re.escape(choice) for choice in longest)})(?!\w)", re.IGNORECASE)
    by_name = {choice.casefold(): choice for choice in choices}
    behind = marked(text)
    if behind is not None and (found := form.search(behind)):
        return by_name.get(found.group().casefold())
    listed = form.findall(text)
    return by_name.get(listed[-1].casefold()) if listed else None


def says(text: str) -> tuple[str, ...]:
    """Return the parts of a text that may be its answer, each with and without a full stop.

    All of it, and what stands behind a mark, or else its last line.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    behind = marked(text)
    parts = [text, *(lines[-1:] if behind is None else [behind])]
    return tuple(dict.fromkeys(said for part in map(str.strip, parts) for said in (part, part.removesuffix("."))))


def folded(text: str) -> str:
    """Return a text without case, ASCII punctuation and extra white space."""
    return " ".join(text.casefold().translate(_NO_PUNCTUATION).split())
