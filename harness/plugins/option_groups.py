"""Options that hold options themselves: ``compat`` of a method, a mapping with a class of its own.

A file names one of them with a dot where it names it alone: ``compat.empty_completion`` in a sweep, in ``tune`` or
after ``-o``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from harness.errors import suggest


def option_groups(options: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """Return the options of a class that are a group, with the class of each."""
    fields = options.model_fields.items()
    return {
        name: field.annotation
        for name, field in fields
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }


def option_names(options: type[BaseModel]) -> list[str]:
    """Return the name of each option, a group's own and, with a dot, those within it."""
    inside = [f"{group}.{name}" for group, inner in option_groups(options).items() for name in inner.model_fields]
    return [*options.model_fields, *inside]


def suggest_option(name: str, names: Collection[str]) -> str | None:
    """Return the option closest to ``name``, which may lack the group that it lies in; None when none is close."""
    whole = {full.rpartition(".")[2]: full for full in names} | {full: full for full in names if "." not in full}
    near = suggest(name, [*whole, *whole.values()])
    return whole.get(near, near) if near else None


def overlaid(options: type[BaseModel], layers: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return settings laid over each other, later ones on top: a group is merged key by key, the rest is replaced."""
    groups = option_groups(options)
    whole: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            below = whole.get(name)
            if name in groups and isinstance(below, Mapping) and isinstance(value, Mapping):
                whole[name] = {**below, **value}
            else:
                whole[name] = value
    return whole


def dotted(options: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with those of a group one by one, under names with a dot."""
    groups = option_groups(options)
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if name in groups and isinstance(value, Mapping):
            flat |= {f"{name}.{inner}": one for inner, one in value.items()}
        else:
            flat[name] = value
    return flat


def default_options(options: type[BaseModel]) -> dict[str, Any]:
    """Return the default of each option that has one, as JSON has it."""
    fields = {name: field for name, field in options.model_fields.items() if not field.is_required()}
    values = {name: field.get_default(call_default_factory=True) for name, field in fields.items()}
    return dict(to_jsonable_python(values))
