"""What a stage was made under, as its file says it."""

from __future__ import annotations

from typing import ClassVar

from pydantic import ConfigDict, Field, JsonValue

from harness.spec.section import Document


class MadeUnder(Document):
    """Releases of libraries, and what else a release of the harness notes: the system, the processor, …"""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue]

    file: ClassVar[str] = "environment.json"
    libraries: dict[str, str] = Field(default_factory=dict)
    """By the name of the distribution; ``absent`` where it was not installed."""
    threads: int | None = None
    """Of each process."""
    device: str | None = None
    ranks: int | None = None
