"""What is prepared before anything is trained: rows, tokenizers and untrained models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import Field

from harness.api.registration import DataKind
from harness.spec.model import Template
from harness.spec.section import Frozen
from harness.spec.stages.base import Loading, PluginUse, StageConfig, StageFamily

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


class TokenizerConfig(StageConfig):
    """A byte-level BPE, trained on the training rows."""

    family: ClassVar[StageFamily] = "prepare"
    kind: Literal["tokenizer"] = "tokenizer"
    vocab_size: int
    template: Template


class NewModelConfig(StageConfig):
    """Random weights."""

    family: ClassVar[StageFamily] = "prepare"
    kind: Literal["new-model"] = "new-model"
    architecture: dict[str, Any]
    """Arguments of a transformers configuration, ``model_type`` among them."""
    seed: int
    loading: Loading


class FolderSource(Frozen):
    """A model in a local folder, wherever that lies."""

    at: Literal["folder"] = "folder"
    files: str
    """The digest of the files that matter."""


class HubSource(Frozen):
    """A model of the hub."""

    at: Literal["hub"] = "hub"
    name: str
    revision: str | None


ModelSource: TypeAlias = Annotated[FolderSource | HubSource, Field(discriminator="at")]


class ModelConfig(StageConfig):
    """A language model that exists."""

    family: ClassVar[StageFamily] = "prepare"
    kind: Literal["model"] = "model"
    source: ModelSource
    loading: Loading


class ClassifierConfig(StageConfig):
    """A reward model that exists: a sequence classifier with one output."""

    family: ClassVar[StageFamily] = "prepare"
    kind: Literal["classifier"] = "classifier"
    source: ModelSource
    loading: Loading
