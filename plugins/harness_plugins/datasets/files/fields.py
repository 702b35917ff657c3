"""Which column of a row is what: by options, or by the first row of a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from pydantic import Field, model_validator

from harness.api import DataKind, InputError, Options
from harness_plugins.datasets.files.holdout import Holdout
from harness_plugins.upstream.lines import present

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The columns that only some kinds have.
_OWN: Final[Mapping[DataKind, frozenset[str]]] = {
    "demonstrations": frozenset({"completion", "references"}),
    "preferences": frozenset({"completion", "references", "chosen", "rejected"}),
    "unpaired_preferences": frozenset({"completion", "references", "label"}),
    "references": frozenset({"references"}),
    "prompts": frozenset(),
}
#: What messages about a column that is missing say of the option that names it.
HINTS: Final[Mapping[str, str]] = {
    "prompt": "`columns: {prompt: NAME}` names the column with the instruction",
    "completion": "`columns: {completion: NAME}` names the column with the demonstration; null where there is none",
    "label": "`columns: {label: NAME}` names the column that says whether the completion is desirable",
}


class Columns(Options):
    """Which column of the data is what; TRL's names are the defaults."""

    prompt: str | None = "prompt"
    """Column with the instruction; templates name it ``instruction`` or ``prompt``. Preferences need none: where it is
    null, or ``prompt`` is not a column of the first row, it is the longest common beginning of both answers."""
    messages: str | None = "messages"
    """Column with a conversation, a list of ``{role, content}``; what the assistant says last is the demonstration. The
    columns of prompts and answers may hold such lists too, as TRL's conversational formats have them."""
    context: str | None = None
    """Column with the material that the instruction is about; may be empty or null."""
    completion: str | None = "completion"
    """Column with the demonstration; null where there is none. Preferences may do without: their chosen answer is
    it."""
    references: str | None = None
    """Column with one answer or a list of answers to compare with; the demonstration where null."""
    chosen: str | None = None
    """Column with the preferred answer; needs ``rejected``."""
    rejected: str | None = None
    """Column with the other answer; needs ``chosen``."""
    label: str | None = None
    """Column that says, true or false, whether the completion is desirable."""
    id: str | None = None
    """Column with an id that is unique in the split; an id from the content where null."""

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if (self.chosen is None) != (self.rejected is None):
            raise ValueError("chosen and rejected go together")
        if self.chosen is not None and self.label is not None:
            raise ValueError("label belongs to unpaired preferences, chosen and rejected to paired ones")
        return self


class RowOptions(Options):
    """How the rows of a user's own data are read, wherever they lie."""

    columns: Columns = Columns()
    """Which column is what, such as ``{prompt: question, completion: answer}``. All others are columns for rewards and
    metrics, under their own names."""
    kind: DataKind | None = None
    """What the rows are: demonstrations (prompt, completion), preferences (chosen, rejected, with a prompt or with one
    that is their common beginning), unpaired_preferences (prompt, completion, label), references (prompt and answers
    to compare with) or prompts. Where null, the columns that are named say it, and else the first row."""
    drop: tuple[str, ...] = Field(())
    """Columns that are not read, such as images or dates, which rows cannot hold."""
    holdout: Holdout | None = None
    """Shares of the rows to hold out of training, such as ``{test: 0.1, validation: 0.05, by: dialogue}``. Which they
    are is told by a hash, so neither the order of the rows nor other rows matter. All uses of the data need the same
    ``holdout``, or prompts of a test would be trained on, which is refused."""
    bad_rows: Literal["error", "skip"] = "error"
    """What becomes of a row that cannot be used: the whole file is refused, or the row is left out, and tables say how
    many were, and which."""

    @model_validator(mode="after")
    def _fit_kind(self) -> Self:
        kind = self.declared()
        if used := sorted(set(self.drop) & {name for name in self.columns.model_dump().values() if name}):
            raise ValueError(f"the column {used[0]!r} is both dropped and named in columns")
        if kind is None:
            return self
        for name in ("references", "chosen", "label"):
            if getattr(self.columns, name) is not None and name not in _OWN[kind]:
                raise ValueError(f"rows of kind {kind} have no {name}")
        completion = self.columns.completion
        if completion is None and kind in {"demonstrations", "unpaired_preferences"}:
            raise ValueError(f"rows of kind {kind} have a completion")
        if completion not in {None, "completion"} and "completion" not in _OWN[kind]:
            raise ValueError(f"rows of kind {kind} have no completion")
        if self.columns.prompt is None and kind != "preferences":
            raise ValueError(f"rows of kind {kind} have a prompt")
        return self

    def declared(self) -> DataKind | None:
        """Return the kind as far as options alone say it."""
        if self.kind is not None:
            return self.kind
        if self.columns.chosen is not None:
            return "preferences"
        if self.columns.label is not None:
            return "unpaired_preferences"
        if self.columns.completion is None:
            return "prompts" if self.columns.references is None else "references"
        return None


class FilesOptions(RowOptions):
    """Which column of a file is what, and which rows are used."""


@dataclass(frozen=True)
class Fields:
    """Which column is what, in the rows of one file; None where there is no such column."""

    kind: DataKind
    prompt: str | None
    """None for preferences whose prompt is the common beginning of their answers."""
    context: str | None
    completion: str | None
    references: str | None
    chosen: str | None
    rejected: str | None
    label: str | None
    id: str | None

    @property
    def used(self) -> frozenset[str | None]:
        """Columns that rewards and metrics are not given under their own names."""
        named = (self.prompt, self.context, self.completion, self.references, self.chosen, self.rejected)
        return frozenset({*named, self.label, self.id})

    def check(self, row: Mapping[str, Any], where: str) -> None:
        """Raise InputError where a column that every row needs is not in this one."""
        for name in ("prompt", "context", "completion", "references", "chosen", "rejected", "label", "id"):
            column = getattr(self, name)
            if column is not None:
                present(row, column, where, hint=HINTS.get(name))


def fields_of(options: RowOptions, row: Mapping[str, Any], where: str) -> Fields:
    """Return which column is what, by the options and the first row.

    Raises:
        InputError: the row may be a demonstration or an unpaired preference.
    """
    columns = options.columns
    kind = options.declared()
    if kind is None:
        pair = "chosen" in row and "rejected" in row
        kind = "preferences" if pair and columns.completion not in row else "demonstrations"
        if columns.completion in row and _truth(row.get("label")) is not None:
            raise InputError(
                "these rows have a completion and a true or false `label`, and are demonstrations or unpaired"
                " preferences",
                where=where,
                expected="kind: unpaired_preferences, where nothing learns to write what is labelled false, or kind:"
                " demonstrations, where every completion is learnt and `label` is a column",
            )
    own = _OWN[kind]
    completion = columns.completion if "completion" in own else None
    if kind == "preferences" and completion == "completion" and completion not in row:
        completion = None
    prompt = columns.prompt
    if kind == "preferences" and prompt == "prompt" and prompt not in row:
        prompt = None
    pairs = kind == "preferences"
    return Fields(
        kind=kind,
        prompt=prompt,
        context=columns.context,
        completion=completion,
        references=columns.references or ("references" if kind == "references" else None),
        chosen=(columns.chosen or "chosen") if pairs else None,
        rejected=(columns.rejected or "rejected") if pairs else None,
        label=(columns.label or "label") if "label" in own else None,
        id=columns.id,
    )


def split_prompt(chosen: str, rejected: str, where: str) -> tuple[str, str, str]:
    """Return the longest common beginning of two texts as their prompt, and what is left of each.

    A blank at its end goes to the answers, as in TRL's ``extract_prompt``.

    Raises:
        InputError: nothing is left of one, or they have no beginning in common.
    """
    size = next((place for place, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), None)
    if size is None:
        raise InputError("one of the two answers begins with the whole other one", where=where)
    if size and chosen[size - 1] == " ":
        size -= 1
    prompt, answers = chosen[:size], (chosen[size:], rejected[size:])
    if not prompt.strip():
        raise InputError(
            "the two answers have no beginning in common, and there is no column with a prompt", where=where,
            hint=HINTS["prompt"],
        )  # fmt: skip
    if not all(answer.strip() for answer in answers):
        raise InputError("an answer is blank without the prompt that both begin with", where=where)
    return prompt, *answers


def _truth(value: object) -> bool | None:
    """Return true or false as JSON has it, or as CSV writes it."""
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.strip().lower())
    return value if isinstance(value, bool) else None


def label_of(row: Mapping[str, Any], field: str, where: str) -> bool:
    """Return whether a completion is desirable.

    Raises:
        InputError: the column is missing, or neither true nor false.
    """
    value = present(row, field, where, hint=HINTS["label"])
    label = _truth(value)
    if label is None:
        got = "null" if value is None else value
        raise InputError(f"the field {field!r} is neither true nor false", where=where, got=got)
    return label


def references_of(row: Mapping[str, Any], field: str, where: str) -> tuple[str, ...]:
    """Return one or more texts to compare with.

    Raises:
        InputError: the column is missing, or neither a text nor a list of texts.
    """
    value = present(row, field, where)
    if isinstance(value, str) and value.strip():
        return (value,)
    if isinstance(value, list) and value and all(isinstance(item, str) and item.strip() for item in value):
        return tuple(value)
    raise InputError(f"the field {field!r} is neither a text nor a list of texts", where=where, got=value)
