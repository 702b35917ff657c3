"""Which field of a row is what: by options, or by the first row of a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from pydantic import model_validator

from harness.api import DataKind, InputError, Options
from harness_plugins.upstream.lines import present

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The fields that only some kinds have.
_OWN: Final[Mapping[DataKind, frozenset[str]]] = {
    "demonstrations": frozenset({"completion", "references"}),
    "preferences": frozenset({"completion", "references", "chosen", "rejected"}),
    "unpaired_preferences": frozenset({"completion", "references", "labels"}),
    "references": frozenset({"references"}),
    "prompts": frozenset(),
}


class JsonlOptions(Options):
    """Which field of a row is what; TRL's names are the defaults."""

    kind: DataKind | None = None
    """What the rows are: demonstrations (prompt, completion), preferences (chosen, rejected, with a prompt or with one
    that is their common beginning), unpaired_preferences (prompt, completion, label), references (prompt and answers
    to compare with) or prompts. Where null, the options that name fields say it, and else the first row."""
    prompt: str | None = "prompt"
    """Field with the instruction; templates name it ``instruction`` or ``prompt``. Preferences need none: where it is
    null, or ``prompt`` is not a field of the first row, it is the longest common beginning of both answers."""
    messages: str | None = "messages"
    """Field with a conversation, a list of ``{role, content}``; what the assistant says last is the demonstration. The
    fields of prompts and answers may hold such lists too, as TRL's conversational formats have them."""
    context: str | None = None
    """Field with the material that the instruction is about; may be empty or null."""
    completion: str | None = "completion"
    """Field with the demonstration; null where there is none. Preferences may do without: their chosen answer is it."""
    references: str | None = None
    """Field with one answer or a list of answers to compare with; the demonstration where null."""
    chosen: str | None = None
    """Field with the preferred answer; needs ``rejected``."""
    rejected: str | None = None
    """Field with the other answer; needs ``chosen``."""
    labels: str | None = None
    """Field that says, true or false, whether the completion is desirable (TRL's ``label``)."""
    id: str | None = None
    """Field with an id that is unique in the split; an id from the content where null."""
    bad_rows: Literal["error", "skip"] = "error"
    """What becomes of a row that cannot be used: the whole file is refused, or the row is left out, and tables say how
    many were, and which."""

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if (self.chosen is None) != (self.rejected is None):
            raise ValueError("chosen and rejected go together")
        if self.chosen is not None and self.labels is not None:
            raise ValueError("labels belong to unpaired preferences, chosen and rejected to paired ones")
        kind = self.declared()
        if kind is None:
            return self
        for name in ("references", "chosen", "labels"):
            if getattr(self, name) is not None and name not in _OWN[kind]:
                raise ValueError(f"rows of kind {kind} have no {name}")
        if self.completion is None and kind in {"demonstrations", "unpaired_preferences"}:
            raise ValueError(f"rows of kind {kind} have a completion")
        if self.completion not in {None, "completion"} and "completion" not in _OWN[kind]:
            raise ValueError(f"rows of kind {kind} have no completion")
        if self.prompt is None and kind != "preferences":
            raise ValueError(f"rows of kind {kind} have a prompt")
        return self

    def declared(self) -> DataKind | None:
        """Return the kind as far as options alone say it."""
        if self.kind is not None:
            return self.kind
        if self.chosen is not None:
            return "preferences"
        if self.labels is not None:
            return "unpaired_preferences"
        if self.completion is None:
            return "prompts" if self.references is None else "references"
        return None


@dataclass(frozen=True)
class Fields:
    """Which field is what, in the rows of one file; None where there is no such field."""

    kind: DataKind
    prompt: str | None
    """None for preferences whose prompt is the common beginning of their answers."""
    context: str | None
    completion: str | None
    references: str | None
    chosen: str | None
    rejected: str | None
    labels: str | None
    id: str | None

    @property
    def used(self) -> frozenset[str | None]:
        """Fields that are not columns."""
        named = (self.prompt, self.context, self.completion, self.references, self.chosen, self.rejected)
        return frozenset({*named, self.labels, self.id})


def fields_of(options: JsonlOptions, row: Mapping[str, Any], where: str) -> Fields:
    """Return which field is what, by the options and the first row.

    Raises:
        InputError: the row may be a demonstration or an unpaired preference.
    """
    kind = options.declared()
    if kind is None:
        pair = "chosen" in row and "rejected" in row
        kind = "preferences" if pair and options.completion not in row else "demonstrations"
        if options.completion in row and _truth(row.get("label")) is not None:
            raise InputError(
                "these rows have a completion and a true or false `label`, and are demonstrations or unpaired"
                " preferences",
                where=where,
                expected="kind: unpaired_preferences, where nothing learns to write what is labelled false, or kind:"
                " demonstrations, where every completion is learnt and `label` is a column",
            )
    own = _OWN[kind]
    completion = options.completion if "completion" in own else None
    if kind == "preferences" and completion == "completion" and completion not in row:
        completion = None
    prompt = options.prompt
    if kind == "preferences" and prompt == "prompt" and prompt not in row:
        prompt = None
    pairs = kind == "preferences"
    return Fields(
        kind=kind,
        prompt=prompt,
        context=options.context,
        completion=completion,
        references=options.references or ("references" if kind == "references" else None),
        chosen=(options.chosen or "chosen") if pairs else None,
        rejected=(options.rejected or "rejected") if pairs else None,
        labels=(options.labels or "label") if "labels" in own else None,
        id=options.id,
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
            "the two answers have no beginning in common, and there is no field with a prompt", where=where,
            hint="the option `prompt:` names the field with the instruction",
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
        InputError: the field is missing, or neither true nor false.
    """
    hint = "the option `labels:` names the field that says whether the completion is desirable"
    value = present(row, field, where, hint=hint)
    label = _truth(value)
    if label is None:
        got = "null" if value is None else value
        raise InputError(f"the field {field!r} is neither true nor false", where=where, got=got)
    return label


def references_of(row: Mapping[str, Any], field: str, where: str) -> tuple[str, ...]:
    """Return one or more texts to compare with.

    Raises:
        InputError: the field is missing, or neither a text nor a list of texts.
    """
    value = present(row, field, where)
    if isinstance(value, str) and value.strip():
        return (value,)
    if isinstance(value, list) and value and all(isinstance(item, str) and item.strip() for item in value):
        return tuple(value)
    raise InputError(f"the field {field!r} is neither a text nor a list of texts", where=where, got=value)
