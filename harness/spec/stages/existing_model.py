"""What stages are asked that find a model which exists."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field

from harness.spec.model import Template
from harness.spec.section import Frozen
from harness.spec.stages.base import Loading, StageConfig, StageFamily


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


class GgufSource(Frozen):
    """A model in a GGUF file, wherever that lies."""

    at: Literal["gguf"] = "gguf"
    sha256: str


class AdapterSource(Frozen):
    """A local adapter, wherever that lies, and the model that it is merged into."""

    at: Literal["adapter"] = "adapter"
    files: str
    """The digest of the adapter's files."""
    base: FolderSource | HubSource | GgufSource = Field(discriminator="at")


ModelSource: TypeAlias = Annotated[FolderSource | HubSource | GgufSource | AdapterSource, Field(discriminator="at")]


class ModelConfig(StageConfig):
    """A language model that exists."""

    family: ClassVar[StageFamily] = "prepare"
    kind: Literal["model"] = "model"
    source: ModelSource
    loading: Loading
    chat: Template | None = None
    """The template, where it is a chat template: the model is tried with it."""


class ClassifierConfig(StageConfig):
    """A reward model that exists: a sequence classifier with one output."""

    family: ClassVar[StageFamily] = "prepare"
    kind: Literal["classifier"] = "classifier"
    source: ModelSource
    loading: Loading
    chat: Template | None = None
    """As for a language model."""
