"""A family of prompts: one category under one shift, as a grid of contents and wordings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from harness_plugins.datasets.generated_instructions.draw import Draw
    from harness_plugins.datasets.generated_instructions.world import World

#: The three steps away from the training data, and none.
Shift: TypeAlias = Literal["none", "wording", "composition", "longer answer"]

#: How likely the forms of an answer are, the first being the usual one.
SKEW: Final = {1: (1,), 2: (65, 35), 3: (55, 28, 17)}

#: What may stand before a question that has no context, in the training data and beyond it.
OPENINGS: Final = (
    "", "Please help me. ", "A quick one: ", "Here is the next one: ", "This is for my friend. ", "I need to know. ",
    "One more: ", "Hello. ",
)  # fmt: skip
OTHER_OPENINGS: Final = ("Please help my friend. ", "My sister would like to know. ")


class ListChoice(NamedTuple):
    """Part of an answer that is drawn anew each time: ``number`` of the options, named {a}, {b}, {c} and {d}."""

    options: Sequence[str]
    weights: Sequence[int]
    number: int


class Prompt(NamedTuple):
    """An instruction, its context, and the forms that its answer may take."""

    instruction: str
    context: str
    forms: Sequence[str]
    """Templates over ``slots``, the likeliest first."""
    slots: Mapping[str, str]
    choice: ListChoice | None = None

    def answer(self, draw: Draw) -> str:
        """Draw one answer."""
        form = draw.weighted(self.forms, SKEW[len(self.forms)])
        if self.choice is None:
            return form.format_map(self.slots)
        taken = draw.several(*self.choice)
        return form.format_map({**self.slots, **dict(zip("abcd", taken, strict=False))})


@dataclass(frozen=True)
class Family:
    """All prompts of one category under one shift."""

    category: str
    shift: Shift
    contents: int
    """What can be asked about."""
    cores: int
    """Ways to ask it."""
    openings: int
    """Beginnings before each way."""
    split_by: Literal["core", "content"]
    """What sets train, validation and test apart: a fact's wordings, or the contents themselves."""
    render: Callable[[World, int, int, int, Draw], Prompt]
    """Make the prompt of (world, content, core, opening, draw)."""
