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
        ("I fish in the river at {town}. What is its name?", "From {town} you can see a river. Which river is it?"),
        (
            "{town} lies on the river {river}.", "It is the river {river}.",
            "The river {river} flows past {town} to the sea.", "People call it the {river}.",
        ),
        "{town} lies on the river {river}, in the land of {land}, and it is known for its {good}.",
    ),
    Topic(
        (
            "What is {town} known for?", "What do traders buy in {town}?", "Name the best product of {town}.",
            "{town} sells one thing. What is it?", "What do people make in {town}?", "What can I buy in {town}?",
        ),
        ("I am a trader. What will I find in {town}?", "What do people buy when they come to {town}?"),
        (
            "{town} is known for its {good}.", "It is the {good}.",
            "Traders come to {town} to buy {good} at the market.", "They sell {good} there.",
        ),
        "{town} is known for its {good}. Traders come on the river {river} to buy it at the market.",
    ),
    Topic(
        (
            "In which land is {town}?", "Where is {town}?", "Name the land of {town}.",
            "To which land does {town} belong?", "Where can I find {town}?", "What land is {town} in?",
        ),
        ("I walk to {town}. Which land will I see?", "People in {town} belong to which land?"),
        (
            "{town} is in {land}.", "It is in the land of {land}.",
            "The town of {town} lies in {land}, on the river {river}.", "You can find it in {land}.",
        ),
        "The town of {town} lies in {land}, on the river {river}, and it is known for its {good}.",
    ),
)  # fmt: skip
CREATURE_TOPICS = (
    Topic(
        (
            "What does a {creature} eat?", "What is the food of a {creature}?", "Name the food of the {creature}.",
            "What do I give a hungry {creature}?", "A {creature} is hungry. What does it want?",
            "On what does a {creature} live?",
        ),
        ("My {creature} wants to eat. What do I buy?", "What food does a {creature} find near its home?"),
        (
            "A {creature} eats {food}.", "It eats {food}.", "A {creature} eats {food} and sleeps {home}.",
            "You can give it {food}.",
        ),
        "A {creature} is {kind} that eats {food}. It lives {home} and sleeps there too.",
    ),
    Topic(
        (
            "Where does a {creature} live?", "Where can I find a {creature}?", "Name the home of the {creature}.",
            "What is the home of a {creature}?", "Where does the {creature} sleep?", "I look for a {creature}. Where?",
        ),
        ("I want to see a {creature}. Where do I walk?", "Where will a hungry {creature} be?"),
        (
            "A {creature} lives {home}.", "It lives {home}.", "A {creature} lives {home} and eats {food}.",
            "You can find it {home}.",
        ),
        "A {creature} lives {home}. It is {kind} that eats {food} and sleeps there too.",
    ),
)  # fmt: skip
PEOPLE_TOPICS = (
    Topic(
        (
            "What is the work of {person}?", "What does {person} do?", "Name the craft of {person}.",
            "{person} has a craft. Which one?", "What is {person}?", "Which craft does {person} know?",
        ),
        ("I want to work with {person}. What is the craft?", "What do people in town call {person}?"),
        (
            "{person} is a {craft}.", "{person} works as a {craft}.", "{person} works as a {craft} in {town}.",
            "The craft is that of a {craft}.",
        ),
        "{person} works as a {craft} in {town}, a town in {land} that is known for its {good}.",
    ),
    Topic(
        (
            "Where does {person} live?", "Which town is the home of {person}?", "Name the town of {person}.",
            "Where can I find {person}?", "I look for {person}. Where?", "In which town does {person} work?",
        ),
        ("I want to see {person}. Which town is it?", "To which town will {person} walk home?"),
        (
            "{person} lives in {town}.", "It is the town of {town}.", "{person} lives in {town} and works as a {craft}.",
            "You can find {person} in {town}.",
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
    ("In which land does {person} live?", "To which land does the town of {person} belong?"),
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
        ("I found an old {thing} and want to clean it. How?", "What will make my {thing} clean?"),
        (
            "Clean the {thing} with {cleaner}.", "You can use {cleaner} and let it dry in the sun.",
            "Clean it with {cleaner}, but be slow and let it dry.", "Most people use {cleaner}.",
        ),
        "Clean the {thing} with {cleaner} and let it dry in the sun. Then keep it {place}.",
    ),
    Topic(
        (
            "Where do I keep a {thing}?", "What is a good place to keep a {thing}?", "Where can I keep my {thing}?",
            "My {thing} is in the way. What can I do?", "How do I keep a {thing} dry?",
            "Where do people keep a {thing}?",
        ),
        ("I found an old {thing} and want to keep it. Where?", "What place is good for my {thing}?"),
        (
            "Keep the {thing} {place}.", "You can keep it {place}, where it is dry.",
            "Keep it {place}, but look at it now and then.", "Most people keep it {place}.",
        ),
        "Keep the {thing} {place}, where it is dry. Clean it with {cleaner} now and then.",
    ),
    Topic(
        (
            "How do I mend a {thing}?", "What is a good way to mend a {thing}?", "How can I mend my {thing}?",
            "My {thing} is broken. What can I do?", "What do I need to mend a {thing}?",
            "What do people mend a {thing} with?",
        ),
        ("I found a broken {thing} and want to mend it. How?", "What will make my broken {thing} good again?"),
        (
            "Mend the {thing} with {mender}.", "You can use {mender} and let it rest for a day.",
            "Mend it with {mender}, but be slow and let it rest.", "Most people use {mender}.",
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


_TWO_STEPS = ("{first} And then: {second}", "{first} {second}")


def _general_composition(world: World, content: int, core: int, opening: int, _draw: Draw) -> Prompt:
    # two aspects of one thing in one question
    place, topic = divmod(content, len(ADVICE))
    first, slots = _thing(world, content)
    second, _ = _thing(world, place * len(ADVICE) + (topic + 1) % len(ADVICE))
    asked = _TWO_STEPS[core].format(
        first=first.cores[opening].format_map(slots), second=second.cores[opening].format_map(slots)
    )
    return Prompt(asked, "", tuple(f"{a} {b}" for a, b in zip(first.forms[:2], second.forms[:2], strict=True)), slots)


def _general_longer(world: World, content: int, core: int, opening: int, _draw: Draw) -> Prompt:
    topic, slots = _thing(world, content)
    return Prompt(_ABOUT[core].format(core=topic.cores[opening].format_map(slots)), "", (topic.long,), slots)


_THINGS = len(THINGS) * len(ADVICE)
GENERAL = (
    Family("general_qa", "none", _THINGS, 6, len(OPENINGS), "core", _general),
    Family("general_qa", "wording", _THINGS, 2, len(OTHER_OPENINGS), "core", _general_wording),
    Family("general_qa", "composition", _THINGS, len(_TWO_STEPS), 6, "core", _general_composition),
    Family("general_qa", "longer answer", _THINGS, len(_ABOUT), 6, "core", _general_longer),
)

_STORY = "{person} is a {craft} from {town}. Every {day} {person} sells {good} at the market."
_SPANS = (
    Topic(
        ("Where is {person} from?", "Which town does {person} come from?", "What is the home of the {craft}?"),
        ("Read this and say where {person} was born.", "Does the text name the home of {person}?"),
        ("{person} is from {town}.", "The text says {town}.", "{person}, who is a {craft}, is from {town}."),
        "{person} is a {craft} from {town}, and sells {good} at the market every {day}.",
    ),
    Topic(
        ("What is {person}?", "What is the craft of {person}?", "What does {person} do, says the text?"),
        ("Read this and say what {person} does.", "Does the text name the craft of {person}?"),
        ("{person} is a {craft}.", "The text says a {craft}.", "{person}, who is from {town}, is a {craft}."),
        "{person} is a {craft} from {town}, and sells {good} at the market every {day}.",
    ),
    Topic(
        ("When does {person} sell {good}?", "On which day is {person} at the market?", "Which day is it?"),
        ("Read this and say when {person} can be found.", "Does the text name a day?"),
        ("It is every {day}.", "The text says {day}.", "Every {day} {person} sells {good} at the market."),
        "Every {day} {person}, who is a {craft} from {town}, sells {good} at the market.",
    ),
    Topic(
        ("What does {person} sell?", "What can I buy from {person}?", "Which good does the {craft} sell?"),
        ("Read this and say what {person} has.", "Does the text name a good?"),
        ("{person} sells {good}.", "The text says {good}.", "Every {day} {person} sells {good} at the market."),
        "{person}, who is a {craft} from {town}, sells {good} at the market every {day}.",
    ),
)


def _told(content: int, draw: Draw) -> tuple[Topic, dict[str, str]]:
    place, topic = divmod(content, len(_SPANS))
    person, town = divmod(place, len(TOWNS))
    # told, not known: craft and town are drawn, so only the text has the answer
    slots = {"craft": draw.pick(CRAFTS), "day": draw.pick(DAYS), "good": draw.pick(GOODS)}
    return _SPANS[topic], {"person": PEOPLE[person], "town": TOWNS[town], **slots}


def _closed(_world: World, content: int, core: int, _opening: int, draw: Draw) -> Prompt:
    topic, slots = _told(content, draw)
    return Prompt(topic.cores[core].format_map(slots), _STORY.format_map(slots), topic.forms, slots)


def _closed_wording(_world: World, content: int, core: int, _opening: int, draw: Draw) -> Prompt:
    topic, slots = _told(content, draw)
    return Prompt(topic.others[core].format_map(slots), _STORY.format_map(slots), topic.forms, slots)


def _closed_composition(_world: World, content: int, core: int, _opening: int, draw: Draw) -> Prompt:
    # a second person in the text
    topic, slots = _told(content, draw)
    other = draw.pick([name for name in PEOPLE if name != slots["person"]])
    beside = f"{other} is a {draw.pick(CRAFTS)} from {draw.pick(TOWNS)}."
    return Prompt(topic.cores[core].format_map(slots), f"{beside} {_STORY.format_map(slots)}", topic.forms, slots)


def _closed_longer(_world: World, content: int, core: int, opening: int, draw: Draw) -> Prompt:
    topic, slots = _told(content, draw)
    asked = _ABOUT[core].format(core=topic.cores[opening].format_map(slots))
    return Prompt(asked, _STORY.format_map(slots), (topic.long,), slots)


_STORIES = len(PEOPLE) * len(TOWNS) * len(_SPANS)
CLOSED = (
    Family("closed_qa", "none", _STORIES, 3, 1, "content", _closed),
    Family("closed_qa", "wording", _STORIES, 2, 1, "content", _closed_wording),
    Family("closed_qa", "composition", _STORIES, 3, 1, "content", _closed_composition),
    Family("closed_qa", "longer answer", _STORIES, len(_ABOUT), 3, "content", _closed_longer),
)
