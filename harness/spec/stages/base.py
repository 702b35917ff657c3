"""What the kinds of stages have in common, and the parts that several of them are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from harness.spec.model import Model, Template
from harness.spec.section import Document, Frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.api.registration import Kind

#: Where the store keeps stages, by what they have in common; see :attr:`StageConfig.family`.
StageFamily: TypeAlias = Literal["prepare", "train", "precompute", "generate", "score"]


class PluginUse(Frozen):
    """A plugin as a stage uses it."""

    name: str
    options: dict[str, Any]
    """All that can change a result, with defaults."""
    fingerprint: str
    """The digest of the source that it computes with."""


class Loading(Frozen):
    """How a model is loaded."""

    dtype: Literal["float32", "float64", "bfloat16"]
    attention: Literal["sdpa", "eager"]
    stop: tuple[str, ...] = ()
    """What ends an answer, as the file names it."""

    @classmethod
    def of(cls, model: Model) -> Loading:
        """Return how the file wants a model loaded."""
        return cls(dtype=model.dtype, attention=model.attention, stop=model.stop)

    def model(self, name: str, **source: Any) -> Model:
        """Return the model called ``name`` in messages, to be loaded like this."""
        return Model(name=name, dtype=self.dtype, attention=self.attention, **source)


class Asking(Frozen):
    """How a model is asked for, or about, answers to test prompts."""

    template: Template
    max_prompt_length: int
    overlong: Literal["cut", "drop"]
    loading: Loading


class RewardModelUse(Frozen):
    """How a stage computes with a reward model."""

    loading: Loading
    template: Template
    max_prompt_length: int | None
    """None where it reads whatever its context holds."""


class StageConfig(Document):
    """Everything that can change a stage's result, its parents apart: what its id is made from, and ``config.json``.

    Each kind has a field ``kind`` of its own, which tells the classes apart.
    """

    file: ClassVar[str] = "config.json"
    family: ClassVar[StageFamily]

    code: str = ""
    """The digest of the source that stages of the kind run; plugins apart, which have their own."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, all of them."""
        return self.model_dump(mode="json")

    def plugins(self) -> Iterator[tuple[Kind, PluginUse]]:
        """Yield the plugins that the stage computes with."""
        yield from ()
