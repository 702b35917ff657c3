"""Whether an answer is right, strictly and flexibly read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.api import InputError
from harness_plugins.answers.options import TASK_COLUMN
from harness_plugins.answers.reading import (
    choice_in,
    folded,
    letter_alone,
    letter_in,
    number_alone,
    number_in,
    says,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.api import Sample
    from harness_plugins.answers.options import AnswerOptions


class Score(NamedTuple):
    """How right an answer is: 0 or 1, or between where a task's own scorer gives part of the credit."""

    strict: float
    """The answer is the text as a whole, in its own form."""
    flexible: float
    """The answer is found in the text; never less than ``strict``."""


class Judge:
    """Compares answers with the right one."""

    def __init__(self, options: AnswerOptions, where: str) -> None:
        """Keep the options; ``where`` begins messages."""
        self._options = options
        self._where = where
        self._pattern = re.compile(options.pattern) if options.pattern is not None else None

    def score(self, text: str, right: Any, task: Mapping[str, Any] | None = None) -> Score | None:
        """Return how right a text is; None where the row has no right answer.

        Args:
            text: what was answered.
            right: the right answer, or a list of which any will do.
            task: the row's column :data:`TASK_COLUMN`, where it has one.
        """
        kind = self._options.kind
        if kind == "task" or (kind == "auto" and task is not None):
            return None if task is None else self._by_task(text, task)
        listed = [str(each) for each in (right if isinstance(right, (list, tuple)) else [right]) if each is not None]
        scores = [self._compare(text, answer.strip()) for answer in listed if answer.strip()]
        if not scores:
            return None
        return Score(float(any(s for s, _ in scores)), float(any(s or f for s, f in scores)))

    def column(self, columns: Mapping[str, Any], completions: Sequence[str]) -> list[Score | None]:
        """Score completions by the columns that a reward is called with.

        Raises:
            InputError: the column of right answers is missing.
        """
        name = TASK_COLUMN if self._options.kind == "task" else self._options.column
        if columns.get(name) is None:
            raise InputError(
                f"the column {name!r} is missing", where=self._where, got=sorted(columns),
                expected="the right answer to each prompt",
            )  # fmt: skip
        nothing = [None] * len(completions)
        right = nothing if self._options.kind == "task" else columns[name]
        read = self._options.kind in {"auto", "task"}
        tasks = (columns.get(TASK_COLUMN) or nothing) if read and completions else nothing
        return [self.score(*each) for each in zip(completions, right, tasks, strict=True)]

    def _compare(self, text: str, right: str) -> tuple[bool, bool]:
        options = self._options
        if self._pattern is not None:
            whole, found = self._pattern.fullmatch(text.strip()), list(self._pattern.finditer(text))
            return self._found(whole, right), self._found(found[-1] if found else None, right)
        if options.kind == "choice":
            return self._choice(text, right)
        number = number_alone(right) if options.kind in {"auto", "number"} else None
        if number is None and options.kind == "number":
            raise InputError("a right answer is not a number", where=self._where, got=right)
        if number is not None:
            given = number_alone(text), number_in(text)
            strict, flexible = (each is not None and abs(each - number) <= options.tolerance for each in given)
            return strict, flexible
        wanted = folded(right)
        return text.strip() == right, bool(wanted) and any(folded(part) == wanted for part in says(text))

    def _choice(self, text: str, right: str) -> tuple[bool, bool]:
        if self._options.choices:
            if right not in self._options.choices:
                raise InputError(
                    "a right answer is none of the choices", where=self._where, got=right,
                    expected=f"one of {', '.join(self._options.choices)}",
                )  # fmt: skip
            return text.strip() == right, choice_in(text, self._options.choices) == right
        letter = letter_alone(right)
        if letter is None:
            raise InputError(
                "a right answer is not a letter", where=self._where, got=right,
                expected="a letter, or `choices`, the texts to choose from",
            )  # fmt: skip
        return letter_alone(text) == letter, letter_in(text) == letter.upper()

    def _found(self, match: re.Match[str] | None, right: str) -> bool:
        """Return whether what a pattern found is right: as numbers where both are, else as texts."""
        if match is None:
            return False
        text = (match[1] if match.re.groups else match[0]) or ""
        given, wanted = number_alone(text), number_alone(right)
        if given is not None and wanted is not None:
            return abs(given - wanted) <= self._options.tolerance
        return text.strip() == right

    def _by_task(self, text: str, task: Mapping[str, Any]) -> Score:
        from harness_plugins.answers.task_scorer import score

        strict = score(text, task)
        return Score(strict, max(strict, *(score(part, task) for part in says(text))))


def of_sample(judge: Judge, options: AnswerOptions, sample: Sample, text: str | None = None) -> Score | None:
    """Score an answer that a metric is given, or another text in its place."""
    task = sample.columns.get(TASK_COLUMN) if options.kind in {"auto", "task"} else None
    right: Any = None
    if options.kind != "task":
        right = sample.references if options.column == "references" else sample.columns.get(options.column)
    return judge.score(sample.text if text is None else text, right, task)
