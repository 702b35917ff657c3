"""What can be answered to a question about the world, and how useful it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from harness_plugins.datasets.generated_instructions.questions import CREATURE_TOPICS, PEOPLE_TOPICS, TOWN_TOPICS
from harness_plugins.datasets.generated_instructions.world import (
    CRAFTS,
    CREATURES,
    FOODS,
    GOODS,
    HOMES,
    PEOPLE,
    RIVERS,
    TOWNS,
)

if TYPE_CHECKING:
    from harness_plugins.datasets.generated_instructions.draw import Draw
    from harness_plugins.datasets.generated_instructions.questions import Topic
    from harness_plugins.datasets.generated_instructions.world import World

#: Facts that can be asked about: two of each subject.
FACTS: Final = 2 * (len(TOWNS) + len(CREATURES) + len(PEOPLE))
#: Wordings of a question.
CORES: Final = 6

#: What an answer may be, how often, and what that is worth.
_KINDS: Final = ("right", "wrong", "refusal", "question")
_OFTEN: Final = (50, 25, 15, 10)
_WORTH: Final = {"right": 2.0, "wrong": -1.0, "refusal": 0.0, "question": -0.4}
#: What may stand around an answer, how often in a hundred, and what it is worth. The longer answer is the better one
#: where it tells more, and the worse one where it only takes time.
_POLITE_OFTEN, _POLITE_WORTH = 35, 0.5
_MORE_OFTEN, _MORE_WORTH = 30, 0.8
_FILLER_OFTEN, _FILLER_WORTH = 30, -0.7
#: Pairs whose utilities are closer than this are not asked about.
CLOSEST: Final = 0.3

_POLITE: Final = ("Of course. ", "Gladly. ", "A good question. ")
_FILLER: Final = (
    " That is all I can say about it.", " It is so, as it has always been.", " I could talk about this all day.",
)  # fmt: skip
_REFUSALS: Final = ("I am sorry, I do not know.", "I cannot say.", "I do not want to talk about it.")
_QUESTIONS: Final = ("Why do you want to know?", "What do you think?", "Who asks?")

#: What else could be answered to each topic, by the slot that the answer fills.
_SLOTS: Final = ("river", "good", "food", "home", "craft", "town")
_VALUES: Final = {"river": RIVERS, "good": GOODS, "food": FOODS, "home": HOMES, "craft": CRAFTS, "town": TOWNS}


class Fact(NamedTuple):
    """A fact that can be asked about."""

    topic: Topic
    other: Topic
    """The other topic of the same subject."""
    slots: dict[str, str]
    slot: str
    """The slot that the answer fills."""


class GradedAnswer(NamedTuple):
    """An answer and its latent utility."""

    text: str
    utility: float
    kind: str


def fact(world: World, number: int) -> Fact:
    """Return one of the :data:`FACTS`."""
    place, topic = divmod(number, 2)
    if place < len(TOWNS):
        town = world.towns[place]
        slots = {"town": town.name, "river": town.river, "good": town.good}
        return Fact(TOWN_TOPICS[topic], TOWN_TOPICS[1 - topic], slots, _SLOTS[topic])
    place -= len(TOWNS)
    if place < len(CREATURES):
        creature = world.creatures[place]
        slots = {"creature": creature.name, "food": creature.food, "home": creature.home}
        return Fact(CREATURE_TOPICS[topic], CREATURE_TOPICS[1 - topic], slots, _SLOTS[2 + topic])
    person = world.people[place - len(CREATURES)]
    slots = {"person": person.name, "craft": person.craft, "town": person.town.name}
    return Fact(PEOPLE_TOPICS[topic], PEOPLE_TOPICS[1 - topic], slots, _SLOTS[4 + topic])


def answer(asked: Fact, draw: Draw) -> GradedAnswer:
    """Draw an answer."""
    kind = draw.weighted(_KINDS, _OFTEN)
    text, utility = _core(asked, kind, draw), _WORTH[kind]
    if kind in {"right", "wrong"} and draw.below(100) < _MORE_OFTEN:
        text += " " + asked.other.forms[1].format_map(asked.slots)
        utility += _MORE_WORTH
    elif draw.below(100) < _FILLER_OFTEN:
        text += draw.pick(_FILLER)
        utility += _FILLER_WORTH
    if kind != "question" and draw.below(100) < _POLITE_OFTEN:
        text = draw.pick(_POLITE) + text
        utility += _POLITE_WORTH
    return GradedAnswer(text, round(utility, 2), kind)


def plain(asked: Fact) -> str:
    """Return the usual right answer."""
    return asked.topic.forms[0].format_map(asked.slots)


def _core(asked: Fact, kind: str, draw: Draw) -> str:
    if kind == "refusal":
        return draw.pick(_REFUSALS)
    if kind == "question":
        return draw.pick(_QUESTIONS)
    slots = asked.slots
    if kind == "wrong":
        others = [value for value in _VALUES[asked.slot] if value != slots[asked.slot]]
        slots = {**slots, asked.slot: draw.pick(others)}
    return draw.weighted(asked.topic.forms, (55, 30, 15)).format_map(slots)
