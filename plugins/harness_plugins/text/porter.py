"""The Porter stemmer with the extensions that nltk's has by default, equal to it on every word.

Source: Porter 1980, *An algorithm for suffix stripping*, Program 14(3). The extensions, as nltk's ``PorterStemmer``
behaves: some irregular words, ``ie`` kept in words of four letters, ``y`` becomes ``i`` after any consonant that is not
the first letter, ``bli`` for ``abli``, the suffixes ``fulli`` and ``logi``, a second pass of step 2 after ``alli``, and
a vowel with a consonant counts as a short syllable.

It stands here because importing nltk's takes the better part of a second (it loads scipy's statistics) in every process
that computes a reward or scores an answer, and because it is several times as fast on words that are new.
"""

from __future__ import annotations

from typing import Final

_IRREGULAR: Final = {
    "skies": "sky", "sky": "sky", "dying": "die", "lying": "lie", "tying": "tie", "news": "news", "innings": "inning",
    "inning": "inning", "outings": "outing", "outing": "outing", "cannings": "canning", "canning": "canning",
    "howe": "howe", "proceed": "proceed", "exceed": "exceed", "succeed": "succeed",
}  # fmt: skip

#: Suffix to what takes its place where the measure of what stands before is above 0; of several the longest counts.
_STEP_2: Final = {
    "ational": "ate", "tional": "tion", "enci": "ence", "anci": "ance", "izer": "ize", "bli": "ble", "alli": "al",
    "entli": "ent", "eli": "e", "ousli": "ous", "ization": "ize", "ation": "ate", "ator": "ate", "alism": "al",
    "iveness": "ive", "fulness": "ful", "ousness": "ous", "aliti": "al", "iviti": "ive", "biliti": "ble",
    "fulli": "ful", "logi": "log",
}  # fmt: skip
_STEP_3: Final = {
    "icate": "ic", "ative": "", "alize": "al", "iciti": "ic", "ical": "ic", "ful": "", "ness": "",
}  # fmt: skip

#: Suffixes that go where the measure of what stands before is above 1.
_STEP_4: Final = frozenset({
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism", "ate", "iti",
    "ous", "ive", "ize",
})  # fmt: skip

_VOWELS: Final = frozenset("aeiou")
_SHAPES: Final = {code: "v" if chr(code) in _VOWELS else "y" if chr(code) == "y" else "c" for code in range(128)}


def porter_stem(word: str) -> str:
    """Return the stem of a word of at least one character of ``a-z0-9``, lower-cased already."""
    irregular = _IRREGULAR.get(word)
    if irregular is not None:
        return irregular
    if len(word) <= 2:
        return word
    word = _past_and_progressive(_plural(word))
    if word.endswith("y") and len(word) > 2 and _shape(word[:-1])[-1] == "c":
        word = word[:-1] + "i"
    word = _step_4(_step_3(_step_2(word)))
    if word.endswith("e"):
        rest = word[:-1]
        measure = _measure(rest)
        if measure > 1 or (measure == 1 and not _ends_short(rest)):
            word = rest
    if word.endswith("ll") and _measure(word[:-1]) > 1:
        word = word[:-1]
    return word


def _shape(word: str) -> str:
    """Return a ``c`` for each consonant and a ``v`` for each vowel; y is a vowel after a consonant."""
    shape = word.translate(_SHAPES)
    if "y" not in shape:
        return shape
    kinds, kind = [], ""
    for letter in shape:
        kind = letter if letter != "y" else "v" if kind == "c" else "c"
        kinds.append(kind)
    return "".join(kinds)


def _measure(word: str) -> int:
    """Return how often a vowel is followed by a consonant: Porter's m."""
    return _shape(word).count("vc")


def _ends_short(word: str) -> bool:
    """Porter's *o (consonant, vowel, consonant other than w, x, y), and a word of one vowel and one consonant."""
    shape = _shape(word)
    return shape == "vc" or (shape.endswith("cvc") and word[-1] not in "wxy")


def _plural(word: str) -> str:
    """Step 1a."""
    if not word.endswith("s") or word.endswith("ss"):
        return word
    if word.endswith("sses"):
        return word[:-2]
    if word.endswith("ies"):
        return word[:-1] if len(word) == 4 else word[:-2]
    return word[:-1]


def _past_and_progressive(word: str) -> str:
    """Step 1b."""
    if word.endswith("ied"):
        return word[:-1] if len(word) == 4 else word[:-2]
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) else word
    rest = word[:-2] if word.endswith("ed") else word[:-3] if word.endswith("ing") else ""
    shape = _shape(rest)
    if "v" not in shape:
        return word
    if rest.endswith(("at", "bl", "iz")):
        return rest + "e"
    if shape[-1] == "c" and rest[-1:] == rest[-2:-1]:
        return rest if rest[-1] in "lsz" else rest[:-1]
    return rest + "e" if shape.count("vc") == 1 and _ends_short(rest) else rest


def _step_2(word: str) -> str:
    for size in (7, 6, 5, 4, 3):
        suffix = word[-size:]
        if suffix in _STEP_2:
            # the l of logi belongs to what is measured
            if not _measure(word[: -3 if suffix == "logi" else -size]):
                return word
            stem = word[:-size] + _STEP_2[suffix]
            return _step_2(stem) if suffix == "alli" else stem
    return word


def _step_3(word: str) -> str:
    for size in (5, 4, 3):
        replacement = _STEP_3.get(word[-size:])
        if replacement is not None:
            return word[:-size] + replacement if _measure(word[:-size]) else word
    return word


def _step_4(word: str) -> str:
    for size in (5, 4, 3, 2):
        if word[-size:] in _STEP_4:
            rest = word[:-size]
            goes = _measure(rest) > 1 and (word[-size:] != "ion" or rest[-1] in "st")
            return rest if goes else word
    return word
