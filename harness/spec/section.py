"""The base of every class that rooms hand each other, and the marks that say what a field can change."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

#: Marks of a field: what it can change.
RESULT = {"changes": "result"}
RUNTIME = {"changes": "runtime"}
DISPLAY = {"changes": "display"}


def mark(kind: dict[str, str], default: Any = ..., **rest: Any) -> Any:
    """Return a pydantic field that carries its classification."""
    return Field(default, json_schema_extra=kind, **rest)  # type: ignore[arg-type]  # pydantic wants JsonValue


#: A decay rate of the optimiser's running means.
Decay: TypeAlias = Annotated[float, Field(ge=0.0, lt=1.0)]

#: What all random numbers of a run are derived from.
Seed: TypeAlias = Annotated[int, Field(ge=0, lt=2**32)]


class Section(BaseModel):
    """Base of all sections: unknown keys are errors, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Frozen(BaseModel):
    """Base of what no file of a user's has: unknown keys are errors, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)  # a command uses few of them


class Document(Frozen):
    """What a file of a stage holds, or a line of it."""

    file: ClassVar[str]
    """The file's name."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; a field without a value is left out."""
        return self.model_dump(mode="json", exclude_none=True)
