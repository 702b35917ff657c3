"""Whether prompts and answers fit in the contexts of the models that read them: known before anything is trained."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from harness.errors import HarnessError, InputError, raise_collected
from harness.lm.switches import in_force, switched
from harness.spec.results.models import PreparedModel, Way
from harness.spec.stages.generate import GenerateConfig
from harness.spec.stages.score import ModelScoreConfig
from harness.spec.stages.train import TrainConfig
from harness.store.damage import CorruptError
from harness.text.encode import check_fits, check_room

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from harness.plan import Stage
    from harness.store.stages import Store


def check_contexts(stages: Iterable[Stage], store: Store) -> None:
    """Check the stages that read with a model, as far as the models have been prepared.

    Raises:
        InputError: a model is too small for what the file asks.
        InputErrors: several are.
    """
    limits: dict[str, int | None] = {}
    errors: dict[str, HarnessError] = {}
    for stage in stages:
        for model, prompt, answer in _asked(stage):
            positions = _positions(model, store, limits)
            try:
                if answer is None:
                    check_room(positions, prompt, where=f"scorer {model.label}")
                else:
                    check_fits(prompt, answer, positions, where=f"model {model.label}")
            except InputError as error:
                errors[str(error)] = error
    raise_collected(errors)


def _asked(stage: Stage) -> Iterator[tuple[Stage, int, int | None]]:
    """Yield untrained models that a stage reads with, the longest prompt, and the answer, None where it may be cut."""
    config = stage.config
    if isinstance(config, TrainConfig):
        yield _root(stage), config.recipe.max_prompt_length, config.longest_answer
    elif isinstance(config, GenerateConfig):
        checkpoint = stage.parents["checkpoint"]
        yield _root(checkpoint), config.asking.max_prompt_length, config.decoding.max_new_tokens
    elif isinstance(config, ModelScoreConfig):
        for name, parent in stage.parents.items():
            if name == "scorer" or name.startswith("model:"):
                yield _root(parent), config.asking.max_prompt_length, None


def _root(stage: Stage) -> Stage:
    """Return the model that a chain of training began with."""
    while stage.kind == "train":
        stage = stage.parents["start"]
    return stage


def _positions(model: Stage, store: Store, limits: dict[str, int | None]) -> int | None:
    """Return a model's context; None where it has no limit, or is not prepared yet."""
    if model.key not in limits:
        limits[model.key] = None
        if model.done and model.id:
            try:
                limits[model.key] = store.open(model.kind, model.id).read(PreparedModel).positions
            except CorruptError:  # it is rebuilt, and asked then
                del limits[model.key]
                return None
    return limits[model.key]


def ways(stages: Iterable[Stage], store: Store) -> dict[str, str]:
    """Return which way each model takes that is trained or answers (see :mod:`harness.lm.way`), by its label.

    It was tried when the model was prepared, and a switch may keep it from the fast one now.

    Raises:
        InputError: a switch has a value that does not exist.
    """
    switched()
    found: dict[str, str] = {}
    for stage in stages:
        for model, _, answer in _asked(stage):
            if answer is not None and model.label not in found:
                way: Way | None = None
                with suppress(CorruptError):  # it is rebuilt, and tried then
                    way = store.open(model.kind, model.id).read(PreparedModel).way if model.done and model.id else None
                found[model.label] = str(in_force(way)) if way else "its way is known once it is prepared"
    return found
