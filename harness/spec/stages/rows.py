"""What a stage is asked that prepares the rows of a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from harness.api.registration import DataKind
from harness.spec.stages.base import PluginUse, StageConfig, StageFamily

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.api.registration import Kind


class RowsConfig(StageConfig):
    """One split of one data set, as plain rows."""

    family: ClassVar[StageFamily] = "prepare"
    kind: Literal["rows"] = "rows"
    dataset: PluginUse
    identity: dict[str, Any]
    """What the data set says of its source before it is read."""
    split: str
    limit: int | None
    rows_are: DataKind | None
    pair_with: Literal["other-rows"] | None
    train_on_reference: int | None

    def plugins(self) -> Iterator[tuple[Kind, PluginUse]]:
        """Yield the data set."""
        yield "dataset", self.dataset
