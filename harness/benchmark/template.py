"""Checks of a prompt template that need no data."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from harness.benchmark.problems import Problems
    from harness.benchmark.sections import FilePart
    from harness.spec.model import Template

_PIECE: Final = re.compile(r"\{\{|\}\}|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)\}|(?P<broken>\{[^{}]*\}?|\})")


def check_template(template: Template | None, part: FilePart, problems: Problems) -> Template | None:
    """Return the template with ``truncate`` settled, after adding what is wrong with its placeholders.

    Where ``truncate`` is not given and its default does not appear, the only field of the text is cut.
    """
    if template is None:
        return None
    fields = _fields("text", template.text, part, problems)
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
