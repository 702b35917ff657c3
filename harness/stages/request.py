"""What a worker is told: one stage, in plain JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from harness.spec.plugins import INSTALLED, PluginSelection
from harness.spec.runtime import Runtime
from harness.spec.stages.base import StageConfig
from harness.spec.stages.kinds import parse_config

if TYPE_CHECKING:
    from harness.spec.stages.base import StageFamily

#: Called with (done, total, unit, note); total 0 is unknown.
Tell: TypeAlias = Callable[[int, int, str, str], None]

Config_co = TypeVar("Config_co", bound=StageConfig, covariant=True)


@dataclass(frozen=True)
class Parent:
    """A finished stage that this one reads."""

    kind: str
    id: str


@dataclass(frozen=True)
class StageRequest(Generic[Config_co]):
    """A stage to run. It holds no secret and no open thing, so that it can cross any process boundary."""

    id: str
    label: str
    config: Config_co
    parents: Mapping[str, Parent]
    runtime: Runtime
    results: Path
    plugins: PluginSelection = INSTALLED
    """What is loaded to do it."""

    @property
    def kind(self) -> StageFamily:
        """Where the store keeps it."""
        return self.config.family

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "kind": self.kind,
            "id": self.id,
            "label": self.label,
            "config": self.config.to_json(),
            "parents": {name: asdict(parent) for name, parent in self.parents.items()},
            "runtime": self.runtime.model_dump(mode="json"),
            "results": str(self.results),
            "plugins": self.plugins.model_dump(mode="json"),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> StageRequest[Any]:
        """Read back what :meth:`to_json` gave."""
        return StageRequest(
            id=value["id"],
            label=value["label"],
            config=parse_config(value["config"]),
            parents={name: Parent(**parent) for name, parent in value["parents"].items()},
            runtime=Runtime.model_validate(value["runtime"]),
            results=Path(value["results"]),
            plugins=PluginSelection.model_validate(value["plugins"]),
        )
