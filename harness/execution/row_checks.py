"""Checks of prepared rows before anything is trained: no overlap, pairs are whole, there is something to learn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.errors import InputError, suggest
from harness.stages.stored_rows import read

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from harness.api import Example
    from harness.store.records import Record


def check_taught(examples: Iterable[Example], where: str) -> None:
    """Refuse rows of which none has a demonstration: the start that all methods share would learn nothing.

    Raises:
        InputError: saying what the rows have instead.
    """
    examples = list(examples)
    if any(example.demonstration is not None for example in examples):
        return
    undesirable = sum(example.label is False for example in examples)
    referenced = sum(bool(example.references) for example in examples)
    instead = (
        f"{undesirable} rows marked as undesirable" if undesirable else f"{len(examples)} rows without a completion"
    )
    raise InputError(
        "there is nothing to train on: no row has a demonstration",
        where=where,
        got=instead,
        expected="a completion, or a chosen and a rejected answer",
        hint=f"train_on_reference: 1 trains on the first reference: {referenced} rows have one" if referenced else None,
    )


def folded_prompt(fields: Mapping[str, str]) -> str:
    """Return the whole prompt with case and white space folded: what counts as the same prompt."""
    return "\x1f".join(" ".join(fields[name].split()).casefold() for name in sorted(fields) if fields[name].strip())


def check_pairs(record: Record) -> None:
    """Refuse rows that are to be learnt from or judged as preferences, and have only one answer.

    Raises:
        InputError: naming the first such row.
    """
    for example in read(record):
        missing = [name for name in ("chosen", "rejected") if getattr(example, name) is None]
        if missing:
            raise InputError(
                f"this row has no {' and no '.join(missing)} answer, and preferences need both",
                where=f"{record.label}, row {example.id}",
                expected="chosen and rejected in every row",
                hint="files takes them from the fields that its options chosen and rejected name",
            )


def group_of(example: Example, name: str) -> Any:
    """Return what an example has in a column; None where it has none."""
    return example.columns.get(name, example.fields.get(name))


def check_groups(record: Record, name: str) -> None:
    """Refuse rows whose prompts are to be grouped by a column that is not theirs.

    Raises:
        InputError: naming the first row that lacks it.
    """
    for example in read(record):
        if group_of(example, name) is None:
            columns = [*example.columns, *example.fields]
            raise InputError(
                f"this row has no {name!r} to group prompts by",
                where=f"{record.label}, row {example.id}",
                expected=f"one of {', '.join(columns)}, in every row" if columns else "the column in every row",
                did_you_mean=suggest(name, columns),
                hint="group: of a data set names a column of its rows",
            )


def check_overlap(train: Record, evaluations: Mapping[str, Record], *, role: str = "training") -> None:
    """Refuse a benchmark whose evaluation prompts are in its training rows, or in those that settings are chosen on.

    Raises:
        InputError: naming the data sets, how many prompts overlap and the first of them.
    """
    prompts = {folded_prompt(example.fields): example.id for example in read(train)}
    for label, record in evaluations.items():
        shared = [(prompts[p], e.id) for e in read(record) if (p := folded_prompt(e.fields)) in prompts]
        if shared:
            first, second = shared[0]
            raise InputError(
                f"{len(shared)} prompts of {label!r} are in the {role} rows too",
                got=f"{role} row {first} = {label} row {second}",
                expected="no prompt in both (case and white space folded)",
                hint="take them out of one of the two; scores on prompts that were trained or chosen on mean nothing",
            )
