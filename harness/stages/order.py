"""What a worker is told: one stage, in plain JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

#: Called with (done, total, unit, note); total 0 is unknown.
Tell: TypeAlias = Callable[[int, int, str, str], None]


@dataclass(frozen=True)
class Parent:
    """A finished stage that this one reads."""

    kind: str
    id: str


@dataclass(frozen=True)
class Order:
    """A stage to carry out. It holds no secret and no object, so that it can cross any process boundary."""

    kind: str
    id: str
    label: str
    config: Mapping[str, Any]
    parents: Mapping[str, Parent]
    runtime: Mapping[str, Any]
    """``threads``, ``device`` (resolved), ``ranks``, ``concurrent``, ``sources`` (where models lie on disk, by the
    digest of their content) and what the kind of stage needs."""
    results: Path
    blocked: tuple[str, ...] = ()
    """Plugins that the user blocked by name."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "results": str(self.results)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Order:
        """Read back what :meth:`to_json` gave."""
        return cls(
            kind=value["kind"],
            id=value["id"],
            label=value["label"],
            config=value["config"],
            parents={name: Parent(**parent) for name, parent in value["parents"].items()},
            runtime=value["runtime"],
            results=Path(value["results"]),
            blocked=tuple(value["blocked"]),
        )
