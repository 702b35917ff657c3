"""How an answer is read and compared, as options that the reward and the metrics share."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from pydantic import Field, NonNegativeFloat, model_validator

from harness.api import Options

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The column with what reasoning-gym needs to score an answer by the task's own scorer.
TASK_COLUMN: Final = "reasoning_gym"


class AnswerOptions(Options):
    """What the right answer is, and how one is read out of a text."""

    kind: Literal["auto", "number", "choice", "exact", "regex", "task"] = "auto"
    """``number``: equal as numbers. ``choice``: a letter, or one of ``choices``. ``exact``: the same text. ``regex``:
    what ``pattern`` finds. ``task``: reasoning-gym's own scorer of the row's task. ``auto``: the task's scorer where
    the row has one, else ``number`` where the right answer is one, else ``exact``."""
    column: str = Field("answer", min_length=1)
    """Column of the data with the right answer, or a list of them of which any will do; may be ``references``."""
    choices: tuple[str, ...] = ()
    """The texts to choose from, under ``kind: choice``; single letters where empty."""
    pattern: str | None = None
    """A regular expression, under ``kind: regex``; its first group is the answer, or all of it without a group."""
    tolerance: NonNegativeFloat = Field(0.0, allow_inf_nan=False)
    """Largest distance between two numbers that count as equal."""

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        if (self.pattern is not None) != (self.kind == "regex"):
            raise ValueError("`pattern` and `kind: regex` belong together")
        if self.choices and self.kind != "choice":
            raise ValueError("`choices` are for `kind: choice`")
        if self.tolerance and self.kind in {"choice", "exact", "task"}:
            raise ValueError(f"`tolerance` is for numbers, and `kind: {self.kind}` compares none")
        if any(not choice.strip() for choice in self.choices):
            raise ValueError("a choice is blank")
        if self.pattern is not None:
            try:
                re.compile(self.pattern)
            except re.error as error:
                raise ValueError(f"`pattern` is no regular expression: {error}") from error
        return self

    @property
    def said(self) -> dict[str, Any]:
        """What a signature tells of them."""
        given = {"choices": "/".join(self.choices), "pattern": self.pattern, "tolerance": self.tolerance}
        return {"kind": self.kind, "column": self.column, **{name: value for name, value in given.items() if value}}


def reads(options: AnswerOptions) -> Mapping[str, Any]:
    """Return the columns that these options read, as fields of a registration."""
    if options.kind == "task":
        return {"reads": (TASK_COLUMN,)}
    return {"reads": (options.column,), "may_read": (TASK_COLUMN,) if options.kind == "auto" else ()}
