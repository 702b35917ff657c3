"""What happens in the news: six events, how they are told and how they are summed up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from harness_plugins.datasets.generated_instructions.family import SKEW
from harness_plugins.datasets.generated_instructions.world import (
    CREATURES,
    DAYS,
    FOODS,
    GOODS,
    KIND_OF_GOOD,
    PEOPLE,
    THINGS,
    TOWNS,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness_plugins.datasets.generated_instructions.draw import Draw
    from harness_plugins.datasets.generated_instructions.world import World


class NewsEvent(NamedTuple):
    """Something that happens to a person in a town."""

    name: str
    leads: tuple[str, ...]
    """The first sentence: who, what and where."""
    details: tuple[str, ...]
    """Two of these follow, in any order; none of them is in a summary."""
    forms: tuple[str, ...]
    """Summaries, the likeliest first; the last one says in other words what the text says."""


EVENTS: Final = (
    NewsEvent(
        "market",
        (
            "On {day} {person} came to the market of {town} with {good} to sell.",
            "{person} had {good} to sell and took it to the market of {town} on {day}.",
        ),
        (
            "By noon all of it was sold.", "The people of the town paid in silver coins.", "Nobody wanted it at first.",
            "{other} bought the most.", "The price was low.",
        ),
        ("{person} sold {good} in {town}.", "{person} was in {town} on {day}.", "{kind} is sold in {town}."),
    ),
    NewsEvent(
        "find",
        (
            "{person} found an old {thing} near {town} on {day}.",
            "Near {town} {person} looked for {food} on {day} and found an old {thing}.",
        ),
        (
            "It lay under a stone.", "It is in the house of {other} now.", "It may be a hundred years old.",
            "Many people came to look at it.", "{other} wants to buy it.",
        ),
        ("{person} found a {thing} near {town}.", "An old {thing} was found on {day}.", "{craft} finds a {thing}."),
    ),
    NewsEvent(
        "creature",
        (
            "On {day} a {creature} ran through {town} and {person} caught it.",
            "{person} caught a {creature} in the streets of {town} on {day}.",
        ),
        (
            "It had eaten all the {food}.", "{other} was afraid of it.", "It sleeps in a basket now.",
            "The children want to keep it.", "No one knows where it came from.",
        ),
        ("{person} caught a {creature} in {town}.", "A {creature} was in {town} on {day}.", "{craft} catches {beast}."),
    ),
    NewsEvent(
        "lost",
        (
            "{person} lost a {thing} on the way to {town} on {day}.",
            "On {day} {person} came to {town} without a {thing}, which was lost on the way.",
        ),
        (
            "It was a gift from {other}.", "There is a reward of ten coins.", "It fell from a wagon.",
            "{other} has looked for it all night.", "The rain was heavy.",
        ),
        ("{person} lost a {thing} near {town}.", "A {thing} was lost on {day}.", "{craft} looks for a {thing}."),
    ),
    NewsEvent(
        "feast",
        (
            "{person} gave a feast in {town} on {day}, with {food} for all.",
            "On {day} all of {town} came to the feast of {person} and ate {food}.",
        ),
        (
            "{other} sang until night.", "The tables stood in the street.", "It went on until the sun came up.",
            "Next year there will be another one.", "A hundred candles were lit.",
        ),
        ("{person} gave a feast in {town}.", "There was a feast in {town} on {day}.", "{craft} feeds a town."),
    ),
    NewsEvent(
        "repair",
        (
            "On {day} {person} came to {town} to mend the {thing} of {other}.",
            "The {thing} of {other} was broken, so {person} came to {town} on {day} to mend it.",
        ),
        (
            "It took all day.", "The work was paid with {good}.", "It is as good as new.",
            "Nobody else knew how to do it.", "It had been broken for years.",
        ),
        ("{person} mended a {thing} in {town}.", "{other} had a broken {thing}.", "{craft} helps {other}."),
    ),
)  # fmt: skip
#: What may stand at the end of any text, and never in a summary.
_ELSE: Final = (
    "It was a cold day.", "The sun shone all day.", "In {elsewhere} nothing happened.", "It rained in {elsewhere}.",
    "The bridge is still closed.", "The harvest was good this year.",
)  # fmt: skip
_KINDS: Final = {"a food": "Food", "a cloth": "Cloth", "a metal": "Metal"}
CONTENTS: Final = len(EVENTS) * len(PEOPLE) * len(TOWNS)


class News(NamedTuple):
    """A text and its summaries, the likeliest form first."""

    event: str
    document: str
    summaries: tuple[str, ...]

    def summary(self, draw: Draw) -> str:
        """Draw a summary."""
        return draw.weighted(self.summaries, SKEW[len(self.summaries)])


def news(world: World, content: int, draw: Draw) -> News:
    """Tell one of the :data:`CONTENTS` (event, person, town) with everything else drawn."""
    rest, number = divmod(content, len(EVENTS))
    person, town = divmod(rest, len(TOWNS))
    event = EVENTS[number]
    slots = _slots(world, person, town, draw)
    lead = draw.pick(event.leads)
    first, second = draw.several(event.details, [1] * len(event.details), 2)
    sentences = [lead, first, second, *([draw.pick(_ELSE)] if draw.below(3) else [])]
    return News(
        event.name,
        " ".join(sentence.format_map(slots) for sentence in sentences),
        tuple(form.format_map(slots) for form in event.forms),
    )


def _slots(world: World, person: int, town: int, draw: Draw) -> Mapping[str, str]:
    good, creature = draw.pick(GOODS), draw.pick(CREATURES)
    others = [name for place, name in enumerate(PEOPLE) if place != person]
    kinds = {known.name: known.kind for known in world.creatures}
    return {
        "person": PEOPLE[person],
        "town": TOWNS[town],
        "day": draw.pick(DAYS),
        "good": good,
        "kind": _KINDS[KIND_OF_GOOD[good]],
        "thing": draw.pick(THINGS[:-4]),
        "creature": creature,
        "beast": kinds[creature],
        "food": draw.pick(FOODS),
        "craft": f"A {world.people[person].craft}",
        "other": draw.pick(others),
        "elsewhere": draw.pick([name for place, name in enumerate(TOWNS) if place != town]),
    }
