"""Generated minimal pairs: an English sentence, and the same with one word that breaks a rule of grammar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from harness_plugins.datasets.generated_instructions.draw import Draw, seed_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Changes whenever a sentence changes.
VERSION: Final = 1

_NOUNS: Final = (
    ("dog", "dogs"), ("teacher", "teachers"), ("boy", "boys"), ("girl", "girls"), ("doctor", "doctors"),
    ("farmer", "farmers"), ("child", "children"), ("woman", "women"), ("king", "kings"), ("cat", "cats"),
    ("student", "students"), ("horse", "horses"), ("friend", "friends"), ("man", "men"), ("bird", "birds"),
    ("driver", "drivers"),
)  # fmt: skip
_THINGS: Final = (
    ("house", "houses"), ("book", "books"), ("car", "cars"), ("tree", "trees"), ("picture", "pictures"),
    ("box", "boxes"), ("table", "tables"), ("letter", "letters"), ("boat", "boats"), ("chair", "chairs"),
    ("door", "doors"), ("knife", "knives"),
)  # fmt: skip
_VERBS: Final = (
    ("sleeps", "sleep"), ("works", "work"), ("waits", "wait"), ("runs", "run"), ("sits", "sit"), ("plays", "play"),
    ("stands", "stand"), ("lives", "live"), ("eats", "eat"), ("sings", "sing"),
)  # fmt: skip
_DONE: Final = ("seen", "found", "taken", "painted", "broken", "moved", "bought", "sold")
_PLACES: Final = (
    "in the garden", "near the river", "in the street", "at home", "in the city", "by the window", "in the field",
    "on the farm",
)  # fmt: skip
_KINDS: Final = ("old", "small", "red", "new", "big", "white", "black", "good")
_BESIDE: Final = ("near", "behind", "beside", "with")
_DID: Final = ("saw", "liked", "bought", "found", "wanted", "painted")
_WHO: Final = ("They", "We", "People", "She", "He")
_WHEN: Final = ("yesterday", "last week", "last year", "again", "in the morning")
_OF_ONESELF: Final = (("man", "himself"), ("boy", "himself"), ("king", "himself"), ("woman", "herself"),
                      ("girl", "herself"), ("queen", "herself"))  # fmt: skip
_TO_ONESELF: Final = ("hurt", "saw", "helped", "washed", "blamed", "cut")


class MinimalPair(NamedTuple):
    """Two sentences that begin alike and differ in one word."""

    paradigm: str
    right: str
    wrong: str


def _verb(draw: Draw) -> tuple[str, str]:
    """The {dog sleeps | dog sleep} at home."""
    number = draw.below(2)
    noun, verb, place = draw.pick(_NOUNS)[number], draw.pick(_VERBS), draw.pick(_PLACES)
    return f"The {noun} {verb[number]} {place}.", f"The {noun} {verb[1 - number]} {place}."


def _attractor(draw: Draw) -> tuple[str, str]:
    """The dog near the boys {sleeps | sleep} at home: the nearer noun has the other number."""
    number = draw.below(2)
    noun, other = draw.pick(_NOUNS)[number], draw.pick(_THINGS)[1 - number]
    start = f"The {noun} {draw.pick(_BESIDE)} the {other}"
    verb, place = draw.pick(_VERBS), draw.pick(_PLACES)
    return f"{start} {verb[number]} {place}.", f"{start} {verb[1 - number]} {place}."


def _auxiliary(draw: Draw) -> tuple[str, str]:
    """The dogs {have | has} found the box."""
    number = draw.below(2)
    noun, done, thing = draw.pick(_NOUNS)[number], draw.pick(_DONE), draw.pick(_THINGS)[draw.below(2)]
    words = ("has", "have")
    return f"The {noun} {words[number]} {done} the {thing}.", f"The {noun} {words[1 - number]} {done} the {thing}."


def _determiner(draw: Draw) -> tuple[str, str]:
    """We saw {these | this} old houses yesterday."""
    number = draw.below(2)
    start = f"{draw.pick(_WHO)} {draw.pick(_DID)}"
    rest = f"{draw.pick(_KINDS)} {draw.pick(_THINGS)[number]} {draw.pick(_WHEN)}."
    words = draw.pick((("this", "these"), ("that", "those")))
    return f"{start} {words[number]} {rest}", f"{start} {words[1 - number]} {rest}"


def _reflexive(draw: Draw) -> tuple[str, str]:
    """The girl washed {herself | himself} yesterday."""
    noun, own = draw.pick(_OF_ONESELF)
    start, when = f"The {draw.pick(_KINDS[:2])} {noun} {draw.pick(_TO_ONESELF)}", draw.pick(_WHEN)
    other = "herself" if own == "himself" else "himself"
    return f"{start} {own} {when}.", f"{start} {other} {when}."


def _existential(draw: Draw) -> tuple[str, str]:
    """There {are | is} two boxes in the street."""
    number = draw.below(2)
    many = (("a",), ("two", "three", "many", "some"))[number]
    rest = f"{draw.pick(many)} {draw.pick(_KINDS[1:3])} {draw.pick(_THINGS)[number]} {draw.pick(_PLACES)}."
    words = ("is", "are")
    return f"There {words[number]} {rest}", f"There {words[1 - number]} {rest}"


#: Rules of grammar by name, each with what draws a right and a wrong sentence.
PARADIGMS: Final[Mapping[str, Callable[[Draw], tuple[str, str]]]] = {
    "verb": _verb,
    "attractor": _attractor,
    "auxiliary": _auxiliary,
    "determiner": _determiner,
    "reflexive": _reflexive,
    "existential": _existential,
}


def minimal_pairs(key: str, count: int) -> list[MinimalPair]:
    """Return ``count`` pairs that ``key`` draws, the paradigms by turns."""
    names = list(PARADIGMS)
    pairs = []
    for number in range(count):
        name = names[number % len(names)]
        pairs.append(MinimalPair(name, *PARADIGMS[name](Draw(seed_of("minimal pairs", VERSION, key, number)))))
    return pairs
