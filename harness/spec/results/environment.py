"""What a stage was made under, as its file says it."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import ConfigDict, Field

from harness.spec.section import Document


class MadeUnder(Document):
    """Releases of libraries, and whatever else a release of the harness notes: threads, device, processor."""

    model_config = ConfigDict(extra="allow")

    file: ClassVar[str] = "environment.json"
    libraries: dict[str, str] = Field(default_factory=dict)
    """By the name of the distribution; ``absent`` where it was not installed."""

    def told(self) -> dict[str, Any]:
        """Return all that is noted, by name."""
        return self.model_dump(exclude_unset=True)
