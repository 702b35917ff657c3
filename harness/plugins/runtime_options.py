"""Options that change no result: they reach a stage beside its configuration, and are part of no id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Mapping


def split_options(options: BaseModel) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return options as JSON values: those that can change a result, and those marked by :func:`harness.api.runtime`.

    A model within the options is cut in the same way, in its place.
    """
    return _split(options, options.model_dump(mode="json"))


def _split(options: BaseModel, values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    result: dict[str, Any] = {}
    runtime: dict[str, Any] = {}
    for name, field in type(options).model_fields.items():
        extra, value = field.json_schema_extra, getattr(options, name)
        if isinstance(extra, dict) and extra.get("changes") == "runtime":
            runtime[name] = values[name]
        elif isinstance(value, BaseModel):
            result[name], inner = _split(value, values[name])
            if inner:
                runtime[name] = inner
        else:
            result[name] = values[name]
    return result, runtime


def join_options(result: Mapping[str, Any], runtime: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that :func:`split_options` cut."""
    joined = dict(result)
    for name, value in runtime.items():
        inside = joined.get(name)
        joined[name] = join_options(inside, value) if isinstance(inside, dict) and isinstance(value, dict) else value
    return joined
