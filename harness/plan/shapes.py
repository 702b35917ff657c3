"""The shapes of the models that the stages of a plan run, as far as they are known before anything is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.models.shape import shape_of, shape_of_config
from harness.plan.reckoning import Size
from harness.spec.model import Model
from harness.spec.stages.existing_model import HubSource, ModelConfig
from harness.spec.stages.new_model import NewModelConfig, TokenizerConfig
from harness.spec.stages.rows import RowsConfig
from harness.spec.stages.train import TrainConfig

if TYPE_CHECKING:
    from harness.models.shape import Shape
    from harness.plan.graph import Stage
    from harness.spec.stages.kinds import AnyStageConfig

#: Parameters and layers assumed of a model that is not here yet.
_UNKNOWN = Size(350_000_000, 24, 50_000)

#: The parents by which a stage comes to the model that it runs.
_WAYS = ("start", "checkpoint", "samples", "reward_model")


class Shapes:
    """Shapes by the stage that provides a model: many stages share one."""

    def __init__(self) -> None:
        """Know none yet."""
        self._known: dict[str, Shape | None] = {}

    def of(self, stage: Stage) -> Shape | None:
        """Return the shape of the model that a stage runs; None for one that is not on this machine yet."""
        model = model_of(stage)
        if model is None:
            return None
        if model.key not in self._known:
            self._known[model.key] = _shape(model)
        return self._known[model.key]


def model_of(stage: Stage) -> Stage | None:
    """Return the stage that provides the model which another one runs; None where it runs none."""
    model: Stage | None = stage
    while model is not None and (model.kind != "prepare" or isinstance(model.config, RowsConfig)):
        parents = model.parents
        model = next((parents[name] for name in _WAYS if name in parents), None)
    return None if model is None or isinstance(model.config, TokenizerConfig) else model


def _shape(stage: Stage) -> Shape | None:
    config, runtime = stage.config, stage.runtime
    if isinstance(config, NewModelConfig):
        tokenizer = stage.parents["tokenizer"].config
        vocabulary = tokenizer.vocab_size if isinstance(tokenizer, TokenizerConfig) else 0
        return shape_of_config(config.architecture, vocabulary=vocabulary)
    source = config.source if isinstance(config, ModelConfig) else None
    revision = source.revision if isinstance(source, HubSource) else None
    return shape_of(Model(name=runtime.name or "", path=runtime.path, base=runtime.base, revision=revision))


def size_of(shape: Shape | None, config: AnyStageConfig) -> Size:
    """Return what a model of a shape, or of none that is known, is to a stage: how much of it is trained."""
    if shape is None:
        return _UNKNOWN
    adapter = config.recipe.adapter if isinstance(config, TrainConfig) else None
    trained = None if adapter is None else shape.adapter(adapter)
    return Size(shape.parameters, shape.layers, shape.vocabulary, trained)
