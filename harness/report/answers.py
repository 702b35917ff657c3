"""What every row answered to a prompt, beside what the prompt's row of the data holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.report.results import FAILED, NOT_EVALUATED, NOT_RUN, NOT_STORED
from harness.spec.results.generate import Answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.report.results import ResultRow, Results
    from harness.spec.results.rows import DataRow

#: What a row of the data may hold beside its prompt, as people call it.
_GIVEN = (("completion", "reference"), ("chosen", "chosen"), ("rejected", "rejected"))
#: Columns of the rows that say of what kind a prompt is, in this order, before any other that might.
_NAMES = ("category", "task", "subject", "topic", "type", "source", "subset")
#: A column with more values is none of categories, nor is one with fewer prompts to a value.
_MOST, _FEWEST = 24, 3


@dataclass(frozen=True)
class Passage:
    """A text with its name: a field of the prompt, or an answer."""

    name: str
    text: str
    answered: bool = True
    """Whether ``text`` is an answer; else it says why there is none."""


def name_of(row: ResultRow, results: Results) -> str:
    """Return what a row is called where its answers stand beside others'."""
    return f"{row.label} ({row.model})" if len(results.models) > 1 else row.label


def asked(row: DataRow) -> tuple[Passage, ...]:
    """Return what a prompt is made of: its fields, or the turns of a conversation where it has no others."""
    fields = tuple(Passage(field, text) for field, text in row.fields.items() if text)
    return fields or tuple(Passage(turn.role, turn.content) for turn in row.turns)


def given(row: DataRow) -> list[Passage]:
    """Return the data set's own answers, each text once; an undesirable completion is none."""
    passages: dict[str, Passage] = {}
    for key, name in _GIVEN[::-1]:
        answer: str | None = getattr(row, key)
        if answer and not (key == "completion" and row.label is False):
            passages[answer] = Passage(name, answer)
    for number, text in enumerate(row.references, start=1):
        passages.setdefault(text, Passage(f"reference {number}", text))
    order = [name for _, name in _GIVEN]
    return sorted(
        passages.values(), key=lambda passage: order.index(passage.name) if passage.name in order else len(order)
    )


def answers_of(
    row: ResultRow, results: Results, dataset: str, decoding: str, ids: Sequence[str]
) -> dict[str, tuple[str, bool]]:
    """Return a row's answer to each prompt, or why there is none: of the first seed, and of several draws the first."""
    seed = row.described.seeds.get(results.seeds[0])
    if seed is None:
        return dict.fromkeys(ids, (NOT_RUN, False))
    stages = seed.evaluations.get(dataset, {}).get(decoding)
    if stages is None:
        return dict.fromkeys(ids, (NOT_EVALUATED, False))
    stage = stages.generate
    record = results.find("generate", stage)
    if record is None:
        return dict.fromkeys(ids, (NOT_STORED if stage else FAILED, False))
    texts = {answer.id: answer.text for answer in record.lines(Answer) if answer.draw == 0}
    return {name: (texts[name], True) if name in texts else ("the prompt did not fit", False) for name in ids}


def categories(rows: Sequence[DataRow]) -> dict[str, str]:
    """Return the category of each prompt by its id; nothing where the rows have none.

    The category is the first column of text with 2 to 24 values, each of three prompts on average or more; one called
    ``category``, ``task`` or the like goes before others.
    """
    columns: dict[str, dict[str, str]] = {}
    for row in rows:
        for name, value in row.columns.items():
            if isinstance(value, str) and value:
                columns.setdefault(name, {})[row.id] = value
    for name in [*(name for name in _NAMES if name in columns), *(name for name in columns if name not in _NAMES)]:
        kinds = len(set(columns[name].values()))
        if len(columns[name]) == len(rows) and 2 <= kinds <= _MOST and len(rows) >= _FEWEST * kinds:
            return columns[name]
    return {}
