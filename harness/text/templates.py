"""How the fields of a row become the text of a prompt."""

from __future__ import annotations

import hashlib
import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from harness.errors import InputError, suggest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.spec.model import Template

_PIECE = re.compile(r"\{\{|\}\}|\{[^{}]*\}|[{}]|[^{}]+")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Piece(NamedTuple):
    """A part of a template: literal text, or the name of a field."""

    text: str
    is_field: bool


def render(template: Template, fields: Mapping[str, str], *, where: str | None = None) -> str:
    """Return the prompt of one row, before tokenising.

    ``text_without_context`` stands in where it is given and the ``truncate`` field is empty or missing. Only ``{name}``
    is a placeholder, ``{{`` and ``}}`` are braces; values are put in as they are, whatever they contain.

    Raises:
        InputError: a broken placeholder, or a field that the row does not have.
    """
    parts = []
    for piece in parse(variant(template, fields)):
        if not piece.is_field:
            parts.append(piece.text)
        elif piece.text in fields:
            parts.append(fields[piece.text])
        else:
            raise InputError(
                f"the template names a field that the row does not have: {piece.text}",
                where=where,
                expected="one of " + ", ".join(sorted(fields)),
                did_you_mean=suggest(piece.text, fields),
                hint=_CONVERSATION if "conversation" in fields else None,
            )
    return "".join(parts)


#: What to do about a row with several turns, of which a template of text has none.
_CONVERSATION = (
    "the row is a conversation: template: chat gives the model its turns, {conversation} is all of it as text"
)


def users_text(template: Template, fields: Mapping[str, str], *, where: str | None = None) -> str:
    """Return what the user says under a chat template, of a row that is no conversation itself.

    Where the template has no text of its own: the instruction and, behind an empty line, its context; or the prompt; or
    the row's only field.

    Raises:
        InputError: the row does not have the fields that are named, or has several and none is.
    """
    if template.text is not None:
        return render(template, fields, where=where)
    if "instruction" in fields:
        return "\n\n".join(text for name in ("instruction", "context") if (text := fields.get(name, "")).strip())
    if "prompt" in fields or len(fields) == 1:
        return fields["prompt"] if "prompt" in fields else next(iter(fields.values()))
    raise InputError(
        "which of the row's fields does the user say?", where=where, got=", ".join(sorted(fields)),
        expected='a text that names them, such as template: {chat: true, text: "{document}"}',
    )  # fmt: skip


def variant(template: Template, fields: Mapping[str, str]) -> str:
    """Return the text of ``template`` that a row takes."""
    assert template.text is not None  # checked with the file
    if template.text_without_context is not None and not fields.get(template.truncate, "").strip():
        return template.text_without_context
    return template.text


@lru_cache(maxsize=64)
def parse(text: str) -> tuple[Piece, ...]:
    """Cut a template into literals and field names.

    Raises:
        InputError: a brace that belongs to no placeholder, or a placeholder that is more than a name (``{a.b}``,
            ``{0}``, ``{a!r}``, ``{a:>10}``): templates look nothing up and format nothing.
    """
    pieces = []
    for part in _PIECE.findall(text):
        if part in ("{{", "}}"):
            pieces.append(Piece(part[0], is_field=False))
        elif part[0] == "{" and _NAME.fullmatch(part[1:-1]):
            pieces.append(Piece(part[1:-1], is_field=True))
        elif part[0] in "{}":
            raise InputError(
                "broken placeholder in the template",
                got=part,
                expected="{field} with a plain name, or {{ and }} for braces",
            )
        else:
            pieces.append(Piece(part, is_field=False))
    return tuple(pieces)


def template_digest(template: Template) -> str:
    """Return the sha256 (64 hex digits) of everything that shapes a prompt."""
    content = [template.text, template.text_without_context, template.truncate, template.chat, template.system]
    return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()
