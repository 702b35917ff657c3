"""Checks of a prompt template that need no data."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from harness.benchmark.overlay import as_mapping
from harness.benchmark.sections import check, part_of
from harness.spec.model import Template

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.benchmark.problems import Problems
    from harness.benchmark.sections import FilePart
    from harness.benchmark.source import Node
    from harness.spec.model import Model

_PIECE: Final = re.compile(r"\{\{|\}\}|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)\}|(?P<broken>\{[^{}]*\}?|\})")


def template_of(node: Node | None, top: FilePart, problems: Problems) -> Template | None:
    """Return the template with ``truncate`` settled, after adding what is wrong with it.

    A bare ``chat`` is short for ``{chat: true}``. Where ``truncate`` is not given and its default does not appear, the
    only field of the text is cut.
    """
    if node is None:
        expected = "template: chat, or template: {text: …}"
        problems.add(top.place, "is missing", key="template", expected=expected)
        return None
    if isinstance(node.value, str) and node.value != _BARE:
        problems.add(node.place, "is wrong", key="template", got=node.value, expected="chat, or {text: …}")
        return None
    part = part_of(as_mapping(node, _BARE), "template", top.place, problems)
    bare = {"chat": True} if _BARE in part.values and part.values[_BARE].value == _BARE else {}
    template = check(Template, part, problems, **bare)
    if template is None:
        return None
    if isinstance(template.chat, str) and "messages" not in template.chat:
        what = "is not the text of a chat template, which goes over messages"
        problems.add(part.at("chat"), what, key=part.path("chat"), got=template.chat, hint="write the text itself here")
    if not template.chat:
        if template.system is not None:
            what = "is for a chat template"
            problems.add(part.at("system"), what, key=part.path("system"), expected="chat: true beside it")
        if template.text is None:
            problems.add(part.place, "is missing", key=part.path("text"), expected="a text, or chat: true")
            return None
    if template.text is None:
        if template.text_without_context is not None:
            key = "text_without_context"
            problems.add(part.at(key), "needs a text beside it", key=part.path(key))
        return template
    return _check_text(template, template.text, part, problems)


def check_models(template: Template | None, models: Iterable[tuple[Node, Model | None]], problems: Problems) -> None:
    """Say which models cannot have a chat template of their own."""
    for node, model in models:
        if template is not None and template.chat is True and model is not None and model.config is not None:
            what = "is a new model, whose tokenizer has no chat template"
            expected = "template: {chat: …} with a chat template as text, or template: {text: …}"
            problems.add(node.place, what, key=f"models.{model.shown}", expected=expected)


#: What a template may be instead of a mapping, and the key that it is short for.
_BARE: Final = "chat"


def _check_text(template: Template, text: str, part: FilePart, problems: Problems) -> Template | None:
    fields = _fields("text", text, part, problems)
    short = template.text_without_context
    others = fields if short is None else _fields("text_without_context", short, part, problems)
    if not fields:
        hint = "{instruction} means the field of a row"
        problems.add(part.at("text"), "names no field of the data", key=part.path("text"), hint=hint)
        return None
    truncate = template.truncate
    if "truncate" not in part.values and truncate not in fields and len(set(fields)) == 1:
        truncate = fields[0]
    if truncate not in fields:
        what = "is the field to cut where a prompt is too long, and the text does not hold it"
        expected = f"one of {', '.join(dict.fromkeys(fields))}"
        problems.add(part.at("truncate"), what, key=part.path("truncate"), got=truncate, expected=expected)
    if short is not None and truncate in others:
        what = f"is for rows whose {truncate} is empty, and names it"
        problems.add(part.at("text_without_context"), what, key=part.path("text_without_context"))
    return template.model_copy(update={"truncate": truncate})


def _fields(name: str, text: str, part: FilePart, problems: Problems) -> list[str]:
    fields = []
    for piece in _PIECE.finditer(text):
        if piece["broken"]:
            expected = "{field} with a plain name, or {{ and }} for braces"
            problems.add(
                part.at(name), "broken placeholder", key=part.path(name), got=piece["broken"], expected=expected
            )
        elif piece["name"]:
            fields.append(piece["name"])
    return fields
