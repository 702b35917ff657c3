"""Classification, extraction and brainstorming: give a label, copy a list, choose three of eight."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness_plugins.datasets.generated_instructions.family import OPENINGS, OTHER_OPENINGS, Family, ListChoice, Prompt
from harness_plugins.datasets.generated_instructions.world import (
    CREATURES,
    DAYS,
    GOODS,
    KIND_OF_GOOD,
    LIKELY,
    OCCASIONS,
    PEOPLE,
    TOWNS,
)

if TYPE_CHECKING:
    from harness_plugins.datasets.generated_instructions.draw import Draw
    from harness_plugins.datasets.generated_instructions.world import World

_WHICH = (
    "Which one is {kind}: {x} or {y}?", "Which of these is {kind}: {x}, {y}?", "Look at {x} and {y}. Which is {kind}?",
    "Find the one that is {kind}: {x}, {y}.", "One of these is {kind}. Which? {x}, {y}", "What is {kind}, {x} or {y}?",
)  # fmt: skip
_WHICH_ELSE = ("Of {x} and {y}, which one is {kind}?", "Here are {x} and {y}. What would people call {kind}?")
_WHAT_IS_EACH = ("Say what each of these is: {x}, {y}.", "What is {x}, and what is {y}?")
_EACH = ("The {x} is {kind}, and the {y} is {other}.", "{kind}: {x}; {other}: {y}.")
_LABELS = ("It is the {x}.", "The {x} is {kind}.", "The {x} is {kind}, and the {y} is {other}.")
_LABEL_LONG = "The {x} is {kind}, and the {y} is {other}, so it must be the {x}."

_NAMES = (*GOODS, *CREATURES)
#: Names of another kind that each name can be put beside, whatever the seed.
_BESIDE = 6


def _labelled(world: World, content: int, beside: int) -> dict[str, str]:
    kinds = {**KIND_OF_GOOD, **{creature.name: creature.kind for creature in world.creatures}}
    x = _NAMES[content]
    pool = [name for name in (GOODS if x in KIND_OF_GOOD else CREATURES) if kinds[name] != kinds[x]]
    y = pool[beside]
    return {"x": x, "y": y, "kind": kinds[x], "other": kinds[y]}


def _asked(core: str, slots: dict[str, str], draw: Draw) -> str:
    # the right one stands first or second
    return core.format_map({**slots, "x": slots["y"], "y": slots["x"]} if draw.below(2) else slots)


def _label(world: World, content: int, core: int, opening: int, draw: Draw) -> Prompt:
    opening, beside = divmod(opening, _BESIDE)
    slots = _labelled(world, content, beside)
    return Prompt(OPENINGS[opening] + _asked(_WHICH[core], slots, draw), "", _LABELS, slots)


def _label_wording(world: World, content: int, core: int, opening: int, draw: Draw) -> Prompt:
    opening, beside = divmod(opening, _BESIDE)
    slots = _labelled(world, content, beside)
    return Prompt(OTHER_OPENINGS[opening] + _asked(_WHICH_ELSE[core], slots, draw), "", _LABELS, slots)


def _label_composition(world: World, content: int, core: int, opening: int, _draw: Draw) -> Prompt:
    # a label for both
    opening, beside = divmod(opening, _BESIDE)
    slots = _labelled(world, content, beside)
    return Prompt(OPENINGS[opening] + _WHAT_IS_EACH[core].format_map(slots), "", _EACH, slots)


_EXPLAIN = ("{core} Tell me all you know.", "{core} Tell me more than one thing about it.")


def _label_longer(world: World, content: int, core: int, opening: int, draw: Draw) -> Prompt:
    wording, beside = divmod(opening, _BESIDE)
    slots = _labelled(world, content, beside)
    asked = _EXPLAIN[core].format(core=_asked(_WHICH[wording], slots, draw))
    return Prompt(asked, "", (_LABEL_LONG,), slots)


CLASSIFICATION = (
    Family("classification", "none", len(_NAMES), 6, len(OPENINGS) * _BESIDE, "core", _label),
    Family("classification", "wording", len(_NAMES), 2, len(OTHER_OPENINGS) * _BESIDE, "core", _label_wording),
    Family("classification", "composition", len(_NAMES), 2, len(OPENINGS) * _BESIDE, "core", _label_composition),
    Family("classification", "longer answer", len(_NAMES), len(_EXPLAIN), 6 * _BESIDE, "core", _label_longer),
)

_LISTS = (
    "On {day} {person} took {a}, {b} and {c} to {town}.",
    "On {day} {a}, {b} and {c} came to {town} to see {person}.",
)
_LISTED = (
    (
        "List the goods.", "Which goods are in the text?", "Name all the goods in the text.",
        "What did {person} take to {town}?", "Take the goods from the text.", "Make a list of the goods.",
    ),
    (
        "List the people who came.", "Which people came to {town}?", "Name all who came to see {person}.",
        "Who came on {day}?", "Take the people who came from the text.", "Make a list of those who came.",
    ),
)  # fmt: skip
_LISTED_ELSE = (
    ("Make a list of what {person} took.", "Read this and find what {person} had."),
    ("Make a list of the people in {town}.", "Read this and find who was there."),
)
_LIST_FORMS = ("{a}, {b} and {c}.", "The list is: {a}, {b}, {c}.", "1. {a} 2. {b} 3. {c}")
_LIST_LONG = (
    "On {day} {person} took these to {town}: 1. {a} 2. {b} 3. {c}",
    "On {day} these came: 1. {a} 2. {b} 3. {c}",
)


def _listed(content: int, draw: Draw) -> tuple[int, dict[str, str]]:
    place, topic = divmod(content, len(_LISTS))
    person, town = divmod(place, len(TOWNS))
    pool = (GOODS, [name for name in PEOPLE if name != PEOPLE[person]])[topic]
    a, b, c = draw.several(pool, [1] * len(pool), 3)
    return topic, {"person": PEOPLE[person], "town": TOWNS[town], "day": draw.pick(DAYS), "a": a, "b": b, "c": c}


def _extract(_world: World, content: int, core: int, opening: int, draw: Draw) -> Prompt:
    topic, slots = _listed(content, draw)
    return Prompt(
        OPENINGS[opening] + _LISTED[topic][core].format_map(slots), _LISTS[topic].format_map(slots), _LIST_FORMS, slots
    )


def _extract_wording(_world: World, content: int, core: int, _opening: int, draw: Draw) -> Prompt:
    topic, slots = _listed(content, draw)
    return Prompt(_LISTED_ELSE[topic][core].format_map(slots), _LISTS[topic].format_map(slots), _LIST_FORMS, slots)


_LISTED_BOTH = (
    ("List the goods, then say who took them.", "Name the goods and the person.", "Which goods, and who took them?"),
    ("List the people, then say who met them.", "Name the people, and say who met them.", "Who came, and to see whom?"),
)
_BOTH_FORMS = ("{a}, {b} and {c}; it was {person}.", "1. {a} 2. {b} 3. {c} and then {person}.")


def _extract_composition(_world: World, content: int, core: int, _opening: int, draw: Draw) -> Prompt:
    # a list and a span
    topic, slots = _listed(content, draw)
    return Prompt(_LISTED_BOTH[topic][core].format_map(slots), _LISTS[topic].format_map(slots), _BOTH_FORMS, slots)


def _extract_longer(_world: World, content: int, core: int, opening: int, draw: Draw) -> Prompt:
    topic, slots = _listed(content, draw)
    asked = _EXPLAIN[core].format(core=_LISTED[topic][opening].format_map(slots))
    return Prompt(asked, _LISTS[topic].format_map(slots), (_LIST_LONG[topic],), slots)


_TALES = len(PEOPLE) * len(TOWNS) * len(_LISTS)
EXTRACTION = (
    Family("information_extraction", "none", _TALES, 6, 2, "content", _extract),
    Family("information_extraction", "wording", _TALES, 2, 1, "content", _extract_wording),
    Family("information_extraction", "composition", _TALES, 3, 1, "content", _extract_composition),
    Family("information_extraction", "longer answer", _TALES, len(_EXPLAIN), 6, "content", _extract_longer),
)

_TAKE = (
    "Name three things to take to {occasion} in {town}.", "What can I take to {occasion} in {town}?",
    "Give me three ideas for {occasion} in {town}.", "What do I need for {occasion} in {town}?",
    "I go to {occasion} in {town}. What do I take?", "What do people take to {occasion} in {town}?",
)  # fmt: skip
_TAKE_ELSE = (
    "What are good things to take to {occasion} in {town}?",
    "There is {occasion} in {town}. I must not forget anything.",
)
_TAKE_BOTH = (
    "Name three things to take to {occasion} and {another} in {town}.",
    "What do I need for {occasion} or for {another} in {town}?",
)
_IDEAS = ("{a}, {b} and {c}.", "You could take {a}, {b} or {c}.", "1. {a} 2. {b} 3. {c}")
_IDEAS_LONG = "For {occasion} in {town} you could take {a}, {b}, {c} and {d}."
_OCCASIONS = tuple(OCCASIONS)


def _occasion(content: int) -> dict[str, str]:
    place, town = divmod(content, len(TOWNS))
    return {"occasion": _OCCASIONS[place], "town": TOWNS[town], "another": _OCCASIONS[place - 1]}


def _three(occasion: str, count: int = 3) -> ListChoice:
    return ListChoice(OCCASIONS[occasion], LIKELY, count)


def _ideas(_world: World, content: int, core: int, opening: int, _draw: Draw) -> Prompt:
    slots = _occasion(content)
    asked = OPENINGS[opening] + _TAKE[core].format_map(slots)
    return Prompt(asked, "", _IDEAS, slots, _three(slots["occasion"]))


def _ideas_wording(_world: World, content: int, core: int, opening: int, _draw: Draw) -> Prompt:
    slots = _occasion(content)
    asked = OTHER_OPENINGS[opening] + _TAKE_ELSE[core].format_map(slots)
    return Prompt(asked, "", _IDEAS, slots, _three(slots["occasion"]))


def _ideas_composition(_world: World, content: int, core: int, opening: int, _draw: Draw) -> Prompt:
    # what suits two occasions at once
    slots = _occasion(content)
    both = dict.fromkeys(OCCASIONS[slots["occasion"]] + OCCASIONS[slots["another"]])
    weights = [
        sum(LIKELY[OCCASIONS[slots[which]].index(name)] for which in ("occasion", "another")
            if name in OCCASIONS[slots[which]])
        for name in both
    ]  # fmt: skip
    asked = OPENINGS[opening] + _TAKE_BOTH[core].format_map(slots)
    return Prompt(asked, "", _IDEAS, slots, ListChoice(tuple(both), weights, 3))


def _ideas_longer(_world: World, content: int, core: int, opening: int, _draw: Draw) -> Prompt:
    slots = _occasion(content)
    asked = _EXPLAIN[core].format(core=_TAKE[opening].format_map(slots))
    return Prompt(asked, "", (_IDEAS_LONG,), slots, _three(slots["occasion"], 4))


_EVENTS = len(OCCASIONS) * len(TOWNS)
BRAINSTORMING = (
    Family("brainstorming", "none", _EVENTS, 6, len(OPENINGS), "content", _ideas),
    Family("brainstorming", "wording", _EVENTS, 2, len(OTHER_OPENINGS), "content", _ideas_wording),
    Family("brainstorming", "composition", _EVENTS, 2, 3, "content", _ideas_composition),
    Family("brainstorming", "longer answer", _EVENTS, len(_EXPLAIN), 6, "content", _ideas_longer),
)
