"""A conversation as turns, and as the text that a chat template made of them. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Who speaks in a conversation.
Role: TypeAlias = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Turn:
    """What one side of a conversation says at a time."""

    role: Role
    content: str


class Conversation(str):
    """The text of a prompt that a chat template made, which knows the turns it was made of.

    Two conversations are equal where their turns are: what a turn says may read like the marker of another one.
    """

    __slots__ = ("turns",)
    turns: tuple[Turn, ...]

    def __new__(cls, text: str, turns: Sequence[Turn]) -> Self:
        """Return ``text``, made of ``turns``."""
        made = super().__new__(cls, text)
        made.turns = tuple(turns)
        return made

    def __getnewargs__(self) -> tuple[str, tuple[Turn, ...]]:  # type: ignore[override]  # str's has the text alone
        """Return what another one like it is made from."""
        return str(self), self.turns

    def __eq__(self, other: object) -> bool:
        """Compare the turns as well, where both have some."""
        return super().__eq__(other) and self.turns == getattr(other, "turns", self.turns)

    def __ne__(self, other: object) -> bool:
        """Return whether they differ."""
        return not self == other

    __hash__ = str.__hash__
