"""The invented world: its names, and the facts that a seed settles."""

from __future__ import annotations

from dataclasses import dataclass

from harness_plugins.datasets.generated_instructions.draw import Draw, seed_of

TOWNS = (
    "Varno", "Kelmar", "Osting", "Brivek", "Talun", "Meridra", "Sandoc", "Pellow", "Hursel", "Zanith", "Gorlen",
    "Nestra",
)  # fmt: skip
RIVERS = ("Ulma", "Siddle", "Tamber", "Rook", "Wenna", "Ostra")
LANDS = ("Norvia", "Eastmark", "Sulland", "Greyholm")
GOODS = (
    "salt", "wool", "honey", "copper", "cheese", "linen", "iron", "bread", "silk", "tin", "cotton", "silver",
)  # fmt: skip
GOOD_KINDS = ("a food", "a cloth", "a metal")
KIND_OF_GOOD = {
    **dict.fromkeys(("salt", "honey", "cheese", "bread"), "a food"),
    **dict.fromkeys(("wool", "linen", "silk", "cotton"), "a cloth"),
    **dict.fromkeys(("copper", "iron", "tin", "silver"), "a metal"),
}
PEOPLE = ("Anka", "Berit", "Cato", "Dagny", "Emeric", "Frida", "Goran", "Hedda", "Ivo", "Jorun")
CRAFTS = ("baker", "weaver", "smith", "fisher", "potter", "miller")
CREATURES = ("mork", "tilva", "grindel", "pask", "ondle", "ruffin", "sprill", "wumble", "darrow")
CREATURE_KINDS = ("a bird", "a fish", "a beast")
FOODS = ("seeds", "moss", "small fish", "berries", "roots")
HOMES = ("in caves", "in tall trees", "under stones", "in deep lakes", "on dry hills")
DAYS = ("Monday", "Tuesday", "Thursday", "Friday", "Sunday")
SEASONS = ("spring", "summer", "autumn", "winter")

#: Household things, and what is done with them: each aspect has its own answers.
THINGS = (
    "kettle", "lamp", "boat", "coat", "drum", "mirror", "ladder", "basket", "clock", "saddle", "bell", "carpet", "oven",
    "flute", "wagon", "knife",
)  # fmt: skip
CLEANERS = ("warm water", "dry sand", "a soft cloth", "vinegar")
PLACES = ("in a dry box", "behind the door", "on a high shelf", "in the cellar")
MENDERS = ("strong thread", "pine glue", "a small nail", "hot wax")

#: Occasions, and the eight things that people take there, the likeliest first.
OCCASIONS = {
    "a picnic": ("bread", "cheese", "a blanket", "apples", "a knife", "honey", "cups", "a ball"),
    "a long walk": ("boots", "water", "a map", "bread", "a stick", "a hat", "a rope", "nuts"),
    "the harvest": ("a basket", "gloves", "a knife", "water", "a hat", "a wagon", "string", "a ladder"),
    "a wedding": ("flowers", "a gift", "a flute", "wine", "a cake", "a song", "ribbons", "candles"),
    "the fair": ("coins", "a basket", "friends", "a hat", "a flute", "cakes", "a drum", "ribbons"),
    "a boat trip": ("a net", "a rope", "water", "a coat", "bread", "a lamp", "hooks", "a map"),
    "a winter night": ("a lamp", "wood", "a blanket", "soup", "a coat", "candles", "books", "tea"),
    "a feast": ("wine", "soup", "cakes", "a drum", "bread", "candles", "a song", "flowers"),
}
#: How likely the eight are.
LIKELY = (12, 9, 7, 5, 3, 2, 1, 1)

MOODS = ("happy", "sad", "quiet", "proud")


@dataclass(frozen=True)
class Town:
    """What is true of a town."""

    name: str
    river: str
    good: str
    land: str


@dataclass(frozen=True)
class Person:
    """What is true of a person."""

    name: str
    craft: str
    town: Town


@dataclass(frozen=True)
class Creature:
    """What is true of a kind of creature."""

    name: str
    kind: str
    food: str
    home: str


@dataclass(frozen=True)
class Thing:
    """How a household thing is treated."""

    name: str
    cleaner: str
    place: str
    mender: str


@dataclass(frozen=True)
class World:
    """All facts of one seed."""

    towns: tuple[Town, ...]
    people: tuple[Person, ...]
    creatures: tuple[Creature, ...]
    things: tuple[Thing, ...]


def world(seed: int) -> World:
    """Settle the facts: every value of an attribute about equally often."""
    draw = Draw(seed_of("world", seed))

    def dealt(values: tuple[str, ...], count: int) -> list[str]:
        # dealt out like cards, so that no value is so common that guessing it pays
        deck = [values[i % len(values)] for i in range(count)]
        return draw.several(deck, [1] * count, count)

    towns = tuple(
        Town(*facts)
        for facts in zip(
            TOWNS, dealt(RIVERS, len(TOWNS)), dealt(GOODS, len(TOWNS)), dealt(LANDS, len(TOWNS)), strict=True
        )
    )
    homes = dealt(TOWNS, len(PEOPLE))
    people = tuple(
        Person(name, craft, towns[TOWNS.index(home)])
        for name, craft, home in zip(PEOPLE, dealt(CRAFTS, len(PEOPLE)), homes, strict=True)
    )
    count = len(CREATURES)
    creatures = tuple(
        Creature(*facts)
        for facts in zip(CREATURES, dealt(CREATURE_KINDS, count), dealt(FOODS, count), dealt(HOMES, count), strict=True)
    )
    count = len(THINGS)
    things = tuple(
        Thing(*facts)
        for facts in zip(THINGS, dealt(CLEANERS, count), dealt(PLACES, count), dealt(MENDERS, count), strict=True)
    )
    return World(towns, people, creatures, things)
