"""Open, general and closed questions: recall a fact, give advice, copy a span."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from harness_plugins.datasets.generated_instructions.family import OPENINGS, OTHER_OPENINGS, Family, Prompt
from harness_plugins.datasets.generated_instructions.world import (
    CRAFTS,
    CREATURES,
    DAYS,
    GOODS,
    PEOPLE,
    THINGS,
    TOWNS,
)

if TYPE_CHECKING:
    from harness_plugins.datasets.generated_instructions.draw import Draw
    from harness_plugins.datasets.generated_instructions.world import World


class Topic(NamedTuple):
    """An attribute that can be asked about."""

    cores: tuple[str, ...]
    """Six wordings, of which each fact shows four in training."""
    others: tuple[str, ...]
    """Two wordings that only the shifted data use."""
    forms: tuple[str, ...]
    long: str
    """The longer answer."""


TOWN_TOPICS = (
    Topic(
        (
            "Which river flows past {town}?", "What is the river at {town} called?", "Name the river of {town}.",
            "{town} lies on a river. Which one?", "On which river does {town} lie?", "What river is near {town}?",
        ),
        ("What is the name of the river past {town}?", "I fish at {town}. Which water am I on?"),
        (
            "It is the river {river}.", "{town} lies on the river {river}.",
            "The river {river} flows past {town} to the sea.",
        ),
        "{town} lies on the river {river}, in the land of {land}, and it is known for its {good}.",
    ),
    Topic(
        (
            "What does {town} sell?", "What goods does the town of {town} sell?", "Name the goods that {town} sells.",
            "{town} sells one thing. What is it?", "Which goods are sold in {town}?", "What is sold at {town}?",
        ),
        ("What do people buy in {town}?", "Traders come to {town} for one thing. For what?"),
        (
            "They sell {good} there.", "{town} is known for its {good}.",
            "Traders come to {town} to buy {good} at the market.",
        ),
        "{town} is known for its {good}. Traders come on the river {river} to buy it at the market.",
    ),
)  # fmt: skip
CREATURE_TOPICS = (
    Topic(
        (
            "What does a {creature} eat?", "What food does a {creature} like?", "Name the food of the {creature}.",
            "A {creature} wants to eat. What?", "Which food do I give a {creature}?", "What is eaten by a {creature}?",
        ),
        ("What can I give a {creature} to eat?", "My {creature} wants to eat. What must I buy?"),
        (
            "It eats {food}.", "A {creature} eats {food}.", "You can give {food} to a {creature}, and it will eat.",
        ),
        "A {creature} is {kind} that eats {food}. It lives {home} and sleeps there too.",
    ),
    Topic(
        (
            "Where does a {creature} live?", "Where is the home of a {creature}?", "Name the home of the {creature}.",
            "A {creature} wants to go home. Where?", "In what place does a {creature} live?",
            "Where does the {creature} have its home?",
        ),
        ("In which place can people find the {creature}?", "I want to see a {creature}. Where must I walk?"),
        (
            "It lives {home}.", "A {creature} lives {home}.", "You can find a {creature} {home}, where it sleeps.",
        ),
        "A {creature} lives {home}. It is {kind} that eats {food} and sleeps there too.",
    ),
)  # fmt: skip
PEOPLE_TOPICS = (
    Topic(
        (
            "What is the work of {person}?", "What work does {person} do?", "Name the craft of {person}.",
            "{person} has a craft. Which one?", "Which craft does {person} know?", "As what does {person} work?",
        ),
        ("What does {person} do for work?", "What can I learn from {person}?"),
        (
            "{person} is a {craft}.", "The work is that of a {craft}.", "{person} works as a {craft} in the town.",
        ),
        "{person} works as a {craft} in {town}, a town in {land} that is known for its {good}.",
    ),
    Topic(
        (
            "Where does {person} live?", "Which town is the home of {person}?", "Name the town of {person}.",
            "{person} wants to go home. Where?", "In which town does {person} live?", "Where is the home of {person}?",
        ),
        ("In which town can people find {person}?", "To which place does {person} walk home?"),
        (
            "It is the town of {town}.", "{person} lives in {town}.",
            "You can find {person} in {town}, near the market.",
        ),
        "{person} lives in {town}, a town in {land} on the river {river}, and works as a {craft}.",
    ),
)  # fmt: skip

_TOWN_FACTS = len(TOWNS) * len(TOWN_TOPICS)
_CREATURE_FACTS = len(CREATURES) * len(CREATURE_TOPICS)
_PEOPLE_FACTS = len(PEOPLE) * len(PEOPLE_TOPICS)


def _fact(world: World, content: int) -> tuple[Topic, dict[str, str]]:
    if content < _TOWN_FACTS:
        place, topic = divmod(content, len(TOWN_TOPICS))
        town = world.towns[place]
        return TOWN_TOPICS[topic], {"town": town.name, "river": town.river, "good": town.good, "land": town.land}
    content -= _TOWN_FACTS
    if content < _CREATURE_FACTS:
        place, topic = divmod(content, len(CREATURE_TOPICS))
        creature = world.creatures[place]
        return CREATURE_TOPICS[topic], {
            "creature": creature.name, "kind": creature.kind, "food": creature.food, "home": creature.home,
        }  # fmt: skip
    place, topic = divmod(content - _CREATURE_FACTS, len(PEOPLE_TOPICS))
    person = world.people[place]
    town = person.town
    return PEOPLE_TOPICS[topic], {
        "person": person.name, "craft": person.craft,
        "town": town.name, "river": town.river, "good": town.good, "land": town.land,
    }  # fmt: skip


def _open(world: World, content: int, core: int, opening: int, _draw: Draw) -> Prompt:
    topic, slots = _fact(world, content)
    return Prompt(OPENINGS[opening] + topic.cores[core].format_map(slots), "", topic.forms, slots)


def _open_wording(world: World, content: int, core: int, opening: int, _draw: Draw) -> Prompt:
    topic, slots = _fact(world, content)
    return Prompt(OTHER_OPENINGS[opening] + topic.others[core].format_map(slots), "", topic.forms, slots)


_HOPS = (
    ("Which river flows past the town of {person}?", "What is the river at the home of {person} called?"),
    ("What is the town of {person} known for?", "What can I buy in the town where {person} works?"),
)


def _open_composition(world: World, content: int, core: int, opening: int, _draw: Draw) -> Prompt:
    # two facts in a row: the person's town, then the town's attribute
    place, topic = divmod(content, len(_HOPS))
    person = world.people[place]
    town = person.town
    slots = {"person": person.name, "town": town.name, "river": town.river, "good": town.good, "land": town.land}
    return Prompt(OPENINGS[opening] + _HOPS[topic][core].format_map(slots), "", TOWN_TOPICS[topic].forms, slots)


_ABOUT = ("{core} Tell me all you know.", "{core} Tell me more than one thing about it.")


def _open_longer(world: World, content: int, core: int, opening: int, _draw: Draw) -> Prompt:
    topic, slots = _fact(world, content)
    asked = topic.cores[opening].format_map(slots)
    return Prompt(_ABOUT[core].format(core=asked), "", (topic.long,), slots)


_FACTS = _TOWN_FACTS + _CREATURE_FACTS + _PEOPLE_FACTS
OPEN = (
    Family("open_qa", "none", _FACTS, 6, len(OPENINGS), "core", _open),
    Family("open_qa", "wording", _FACTS, 2, len(OTHER_OPENINGS), "core", _open_wording),
    Family("open_qa", "composition", len(PEOPLE) * len(_HOPS), 2, len(OPENINGS), "core", _open_composition),
    Family("open_qa", "longer answer", _FACTS, len(_ABOUT), 6, "core", _open_longer),
)

ADVICE = (
    Topic(
        (
            "How do I clean a {thing}?", "What is a good way to clean a {thing}?", "How can I clean my {thing}?",
            "My {thing} is not clean. What can I do?", "What do I need to clean a {thing}?",
            "What do people clean a {thing} with?",
        ),
        ("How do people clean the {thing}?", "I found an old {thing} and want it clean. How?"),
        (
            "You can use {cleaner}.", "Clean the {thing} with {cleaner}.",
            "Most people take {cleaner} and then let it dry in the sun.",
        ),
        "Clean the {thing} with {cleaner} and let it dry in the sun. Then keep it {place}.",
    ),
    Topic(
        (
            "Where do I keep a {thing}?", "What is a good place to keep a {thing}?", "Where can I keep my {thing}?",
            "I want to keep a {thing} dry. Where?", "Name a place to keep a {thing}.",
            "Where do people keep a {thing}?",
        ),
        ("What is the place where people keep the {thing}?", "I found a {thing} and want to keep it."),
        (
            "You can put it {place}.", "Keep the {thing} {place}.",
            "Most people put it {place} and look at it now and then.",
        ),
        "Keep the {thing} {place}, where it is dry. Clean it with {cleaner} now and then.",
    ),
    Topic(
        (
            "How do I mend a {thing}?", "What is a good way to mend a {thing}?", "How can I mend my {thing}?",
            "I want to mend my {thing}. What can I do?", "What do I need to mend a {thing}?",
            "What do people mend a {thing} with?",
        ),
        ("How do people mend the broken {thing}?", "My old {thing} must be good again. How?"),
        (
            "You can use {mender}.", "Mend the {thing} with {mender}.",
            "Most people take {mender} and then let it rest for a day.",
        ),
        "Mend the {thing} with {mender} and let it rest for a day. Then keep it {place}.",
    ),
)  # fmt: skip


def _thing(world: World, content: int) -> tuple[Topic, dict[str, str]]:
    place, topic = divmod(content, len(ADVICE))
    thing = world.things[place]
    return ADVICE[topic], {
        "thing": thing.name, "cleaner": thing.cleaner, "place": thing.place, "mender": thing.mender,
    }  # fmt: skip


def _general(world: World, content: int, core: int, opening: int, _draw: Draw) -> Prompt:
    topic, slots = _thing(world, content)
    return Prompt(OPENINGS[opening] + topic.cores[core].format_map(slots), "", topic.forms, slots)


def _general_wording(world: World, content: int, core: int, opening: int, _draw: Draw) -> Prompt:
    topic, slots = _thing(world, content)
    return Prompt(OTHER_OPENINGS[opening] + topic.others[core].format_map(slots), "", topic.forms, slots)


_ASPECTS = (("clean", "mend"), ("keep", "clean"), ("mend", "keep"))
_BOTH_ASKED = ("How do I {first} and {second} a {thing}?", "I want to {first} and then {second} my {thing}.")
_BOTH_TOLD = (
    (
        "Clean the {thing} with {cleaner} and mend it with {mender}.",
        "Most people take {cleaner} for the one and {mender} for the other.",
    ),
    (
        "Keep the {thing} {place} and clean it with {cleaner}.",
        "Most people put it {place}, but first they take {cleaner}.",
    ),
    (
        "Mend the {thing} with {mender} and keep it {place}.",
        "Most people take {mender} and then put it {place}.",
    ),
)


def _general_composition(world: World, content: int, core: int, opening: int, _draw: Draw) -> Prompt:
    # two aspects of one thing in one question
    topic = content % len(ADVICE)
    _, slots = _thing(world, content)
    first, second = _ASPECTS[topic]
    asked = _BOTH_ASKED[core].format_map({**slots, "first": first, "second": second})
    return Prompt(OPENINGS[opening] + asked, "", _BOTH_TOLD[topic], slots)


def _general_longer(world: World, content: int, core: int, opening: int, _draw: Draw) -> Prompt:
    topic, slots = _thing(world, content)
    return Prompt(_ABOUT[core].format(core=topic.cores[opening].format_map(slots)), "", (topic.long,), slots)


_THINGS = len(THINGS) * len(ADVICE)
GENERAL = (
    Family("general_qa", "none", _THINGS, 6, len(OPENINGS), "core", _general),
    Family("general_qa", "wording", _THINGS, 2, len(OTHER_OPENINGS), "core", _general_wording),
    Family("general_qa", "composition", _THINGS, len(_BOTH_ASKED), len(OPENINGS), "core", _general_composition),
    Family("general_qa", "longer answer", _THINGS, len(_ABOUT), 6, "core", _general_longer),
)

_STORY = "{person} is a {craft} from {town}. Every {day} {person} sells {good} at the market."
_SPANS = (
    Topic(
        ("Where is {person} from?", "Which town does {person} come from?", "What is the home of the {craft}?"),
        ("From which town is {person}?", "Read this and find the place where {person} was born."),
        ("The text says {town}.", "{person} is from {town}.", "It is {town}, where {person} works as a {craft}."),
        "{person} is a {craft} from {town}, and sells {good} at the market every {day}.",
    ),
    Topic(
        ("What is {person}?", "What is the craft of {person}?", "What does {person} do in the text?"),
        ("Which craft does {person} do?", "Read this and find what {person} learned."),
        ("The text says a {craft}.", "{person} is a {craft}.", "It is a {craft}, and {person} works in {town}."),
        "{person} is a {craft} from {town}, and sells {good} at the market every {day}.",
    ),
    Topic(
        ("When does {person} sell {good}?", "On which day is {person} at the market?", "Which day is it?"),
        ("Which day does {person} sell {good} on?", "Read this and find the time."),
        ("The text says {day}.", "It is every {day}.", "Every {day} {person} sells {good} at the market."),
        "Every {day} {person}, who is a {craft} from {town}, sells {good} at the market.",
    ),
    Topic(
        ("What does {person} sell?", "What can I buy from {person}?", "Which good does the {craft} sell?"),
        ("Which good can I buy from {person}?", "Read this and find what {person} has."),
        ("The text says {good}.", "{person} sells {good}.", "It is {good}, which {person} sells every {day}."),
        "{person}, who is a {craft} from {town}, sells {good} at the market every {day}.",
    ),
)


def _told(content: int, draw: Draw) -> tuple[Topic, dict[str, str]]:
    place, topic = divmod(content, len(_SPANS))
    person, town = divmod(place, len(TOWNS))
    # told, not known: craft and town are drawn, so only the text has the answer
    slots = {"craft": draw.pick(CRAFTS), "day": draw.pick(DAYS), "good": draw.pick(GOODS)}
    return _SPANS[topic], {"person": PEOPLE[person], "town": TOWNS[town], **slots}


def _closed(_world: World, content: int, core: int, opening: int, draw: Draw) -> Prompt:
    topic, slots = _told(content, draw)
    return Prompt(OPENINGS[opening] + topic.cores[core].format_map(slots), _STORY.format_map(slots), topic.forms, slots)


def _closed_wording(_world: World, content: int, core: int, _opening: int, draw: Draw) -> Prompt:
    topic, slots = _told(content, draw)
    return Prompt(topic.others[core].format_map(slots), _STORY.format_map(slots), topic.forms, slots)


_TWO_SPANS = (
    "What does {person} do, and where?", "Name the craft and the town of {person}.", "Who is {person}, and from where?",
)  # fmt: skip
_TWO_TOLD = ("{person} works as a {craft} in {town}.", "A {craft} from {town}.")


def _closed_composition(_world: World, content: int, core: int, _opening: int, draw: Draw) -> Prompt:
    # two spans, and a second person in the text
    _, slots = _told(content, draw)
    other = draw.pick([name for name in PEOPLE if name != slots["person"]])
    beside = f"{other} is a {draw.pick(CRAFTS)} from {draw.pick(TOWNS)}."
    return Prompt(_TWO_SPANS[core].format_map(slots), f"{beside} {_STORY.format_map(slots)}", _TWO_TOLD, slots)


def _closed_longer(_world: World, content: int, core: int, opening: int, draw: Draw) -> Prompt:
    topic, slots = _told(content, draw)
    asked = _ABOUT[core].format(core=topic.cores[opening].format_map(slots))
    return Prompt(asked, _STORY.format_map(slots), (topic.long,), slots)


_STORIES = len(PEOPLE) * len(TOWNS) * len(_SPANS)
CLOSED = (
    Family("closed_qa", "none", _STORIES, 3, 2, "content", _closed),
    Family("closed_qa", "wording", _STORIES, 2, 1, "content", _closed_wording),
    Family("closed_qa", "composition", _STORIES, 3, 1, "content", _closed_composition),
    Family("closed_qa", "longer answer", _STORIES, len(_ABOUT), 3, "content", _closed_longer),
)
