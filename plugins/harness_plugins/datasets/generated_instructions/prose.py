"""Summaries and verse: compress a text, write two lines that rhyme."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness_plugins.datasets.generated_instructions.family import OPENINGS, OTHER_OPENINGS, Family, Prompt
from harness_plugins.datasets.generated_instructions.world import CREATURES, MOODS, PEOPLE, SEASONS, TOWNS

if TYPE_CHECKING:
    from harness_plugins.datasets.generated_instructions.draw import Draw
    from harness_plugins.datasets.generated_instructions.world import World

_REPORT = "{town} is a town in {land}. It lies on the river {river}. In {season} {person} goes there to buy {good}."
_SHORTEN = (
    "Say this in one sentence.", "Make this short.", "What is the text about?", "Sum up the text.",
    "Give me the text in few words.", "Write a short text from this one.",
)  # fmt: skip
_SHORTEN_ELSE = ("Make one sentence of the text.", "Read this and tell my friend.")
_SUMMARIES = (
    "{person} buys {good} in {town} in {season}.",
    "It is about {town}, a town in {land}.",
    "In {season} {person} goes to {town}, a town in {land} on the river {river}, to buy {good}.",
)
_SUMMARY_LONG = "It is about {town}, a town in {land} on the river {river}. In {season} {person} buys {good} there."


def _reported(world: World, content: int) -> dict[str, str]:
    place, season = divmod(content, len(SEASONS))
    person, place = divmod(place, len(TOWNS))
    town = world.towns[place]
    return {
        "town": town.name, "land": town.land, "river": town.river, "good": town.good, "person": PEOPLE[person],
        "season": SEASONS[season],
    }  # fmt: skip


def _summary(world: World, content: int, core: int, opening: int, _draw: Draw) -> Prompt:
    slots = _reported(world, content)
    return Prompt(OPENINGS[opening] + _SHORTEN[core], _REPORT.format_map(slots), _SUMMARIES, slots)


def _summary_wording(world: World, content: int, core: int, _opening: int, _draw: Draw) -> Prompt:
    slots = _reported(world, content)
    return Prompt(_SHORTEN_ELSE[core], _REPORT.format_map(slots), _SUMMARIES, slots)


def _summary_composition(world: World, content: int, core: int, _opening: int, draw: Draw) -> Prompt:
    # the sentences in another order, and one more
    slots = _reported(world, content)
    beside = f"{draw.pick(PEOPLE)} lives there."
    last, first = _REPORT.format_map(slots).rsplit(". ", 1)
    first = first.replace("goes there", f"goes to {slots['town']}")
    return Prompt(_SHORTEN[core], f"{first} {last}. {beside}", _SUMMARIES, slots)


_FULLY = ("{core} Tell me all you know.", "{core} Tell me more than one thing about it.")


def _summary_longer(world: World, content: int, core: int, opening: int, _draw: Draw) -> Prompt:
    slots = _reported(world, content)
    return Prompt(_FULLY[core].format(core=_SHORTEN[opening]), _REPORT.format_map(slots), (_SUMMARY_LONG,), slots)


_REPORTS = len(PEOPLE) * len(TOWNS) * len(SEASONS)
SUMMARIZATION = (
    Family("summarization", "none", _REPORTS, 6, 1, "content", _summary),
    Family("summarization", "wording", _REPORTS, 2, 1, "content", _summary_wording),
    Family("summarization", "composition", _REPORTS, 6, 1, "content", _summary_composition),
    Family("summarization", "longer answer", _REPORTS, len(_FULLY), 6, "content", _summary_longer),
)

_SUBJECTS = (*TOWNS, *(f"the {creature}" for creature in CREATURES))
_VERSE = (
    "Write a {mood} verse about {subject}.", "Make a {mood} rhyme about {subject}.",
    "Give me two {mood} lines about {subject}.", "I want a {mood} song about {subject}.",
    "Sing of {subject} in a {mood} way.", "Write about {subject}, in {mood} words.",
)  # fmt: skip
_VERSE_ELSE = (
    "I want two lines about {subject} that are {mood}.",
    "Tell {subject} something {mood} that can be sung.",
)
_VERSE_BOTH = (
    "Write a {mood} verse about {subject} and {another}.",
    "Sing of {subject} and {another} in a {mood} way.",
)
#: For each mood: the usual verse, a single line, and two rarer verses.
_LINES = {
    "happy": (
        "O {name}, the sun is bright, / you sing and dance from day to night.",
        "O {name}, you sing and dance all day.",
        "The birds fly over {subject} and play, / for this will be a happy day.",
    ),
    "sad": (
        "O {name}, the rain is cold, / the trees are bare and we are old.",
        "O {name}, the rain falls cold on you.",
        "The leaves fall down on {subject} and lie, / and no one comes to say goodbye.",
    ),
    "quiet": (
        "O {name}, the moon is deep, / the wind is still and all things sleep.",
        "O {name}, the wind is still tonight.",
        "The snow comes down on {subject} so slow, / and no one sees the hours go.",
    ),
    "proud": (
        "O {name}, the hills are tall, / your name is known to one and all.",
        "O {name}, your name is known to all.",
        "The drums are loud for {name} the strong, / and every child will know the song.",
    ),
}
_LINES_LONG = "O {name}, I sing of you, / of {mood} hills and skies so blue and new."


def _sung(content: int) -> dict[str, str]:
    place, mood = divmod(content, len(MOODS))
    subject, another = _SUBJECTS[place], _SUBJECTS[place - 1]
    return {"subject": subject, "name": subject.removeprefix("the "), "mood": MOODS[mood], "another": another}


def _verse(_world: World, content: int, core: int, opening: int, _draw: Draw) -> Prompt:
    slots = _sung(content)
    return Prompt(OPENINGS[opening] + _VERSE[core].format_map(slots), "", _LINES[slots["mood"]], slots)


def _verse_wording(_world: World, content: int, core: int, opening: int, _draw: Draw) -> Prompt:
    slots = _sung(content)
    return Prompt(OTHER_OPENINGS[opening] + _VERSE_ELSE[core].format_map(slots), "", _LINES[slots["mood"]], slots)


def _verse_composition(_world: World, content: int, core: int, opening: int, _draw: Draw) -> Prompt:
    slots = _sung(content)
    another = slots["another"]
    both = {
        "subject": f"{slots['subject']} and {another}",
        "name": f"{slots['name']} and {another.removeprefix('the ')}",
    }
    return Prompt(OPENINGS[opening] + _VERSE_BOTH[core].format_map(slots), "", _LINES[slots["mood"]], both)


def _verse_longer(_world: World, content: int, core: int, opening: int, _draw: Draw) -> Prompt:
    slots = _sung(content)
    return Prompt(_FULLY[core].format(core=_VERSE[opening].format_map(slots)), "", (_LINES_LONG,), slots)


_SONGS = len(_SUBJECTS) * len(MOODS)
CREATIVE = (
    Family("creative_writing", "none", _SONGS, 6, len(OPENINGS), "core", _verse),
    Family("creative_writing", "wording", _SONGS, 2, len(OTHER_OPENINGS), "core", _verse_wording),
    Family("creative_writing", "composition", _SONGS, 2, len(OPENINGS), "core", _verse_composition),
    Family("creative_writing", "longer answer", _SONGS, len(_FULLY), 6, "core", _verse_longer),
)
