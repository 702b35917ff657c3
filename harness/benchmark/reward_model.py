"""The section ``reward_model`` of a benchmark file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydantic import ConfigDict

from harness.api.registration import MethodRegistration
from harness.benchmark.data import data_use, gives_pairs, model, provided, same_rows
from harness.benchmark.methods import merged_recipe
from harness.benchmark.overlay import as_mapping
from harness.benchmark.sections import FilePart, Inherited, check, part_of
from harness.benchmark.source import Node
from harness.spec.benchmark import DataUse, RewardModel
from harness.spec.recipe import Recipe

if TYPE_CHECKING:
    from harness.benchmark.context import Context
    from harness.spec.model import Model

#: Keys of the section that the harness reads; all others are options of the method that trains it.
REWARD_MODEL_KEYS: Final = (
    "use", "model", "path", "revision", "recipe", "start", "train", "test", "normalise",
)  # fmt: skip
#: Keys that say how a reward model is trained, and those that say where one lies.
_TRAINED: Final = ("recipe", "start", "train")
_EXISTING: Final = ("path", "revision")
#: Settings of a recipe that are about methods or sampling, and one that a reward model does not leave open.
_IDLE: Final = {
    "method_epochs": "a reward model is trained for epochs",
    "budget": "a reward model is trained for epochs",
    "method_schedule": "a reward model has one schedule",
    "method_learning_rate": "a reward model is trained at learning_rate",
    "restart_schedule": "a reward model is trained on schedule",
    "generate_length": "nothing is sampled",
    "train_eos": "EOS always ends what a reward model reads: its score is read there",
}


class _SectionKeys(RewardModel):
    """The keys of the section that are neither options, nor data, nor recipe."""

    model_config = ConfigDict(extra="forbid")


def reward_model(node: Node, recipe: FilePart, train: DataUse | None, context: Context) -> RewardModel | None:
    """Return the reward model; ``recipe`` and ``train`` are the file's."""
    problems = context.problems
    before = problems.met
    part = part_of(as_mapping(node, "use"), "reward_model", node.place, problems)
    if problems.met > before:
        return None
    absent = {name for name in REWARD_MODEL_KEYS if name in part.values and part.values[name].value is None}
    part = part.without(absent)  # a profile takes away what the file has
    given = {name for name in ("use", "model") if name in part.values}
    if len(given) != 1:
        what = "names both a method that trains it and a model that exists" if given else "names no reward model"
        expected = "use: METHOD, or model: NAME"
        problems.add(part.place, what, key=part.key, expected=expected)
        return None
    return _trained(part, recipe, train, context) if "use" in given else _existing(part, context)


def _trained(part: FilePart, recipe: FilePart, train: DataUse | None, context: Context) -> RewardModel | None:
    problems = context.problems
    before = problems.met
    for name in _EXISTING:
        if name in part.values:
            problems.add(part.at(name), "is for a model that exists", key=part.path(name), expected="model: beside it")
    shell = check(_SectionKeys, part.only(("start", "normalise")), problems)
    registration = context.registration("method", part.values.get("use"), part, "use")
    learnt = _data(part, "train", "train", context) if "train" in part.values else train
    tested = _data(part, "test", "test", context)
    if "train" in part.values or train is not None:
        _check_pairs(part, "train", learnt, context)
    _check_pairs(part, "test", tested, context)
    if learnt is not None and tested is not None and same_rows(learnt, tested):
        problems.add(part.at("test"), "is the split that it is trained on", key=part.path("test"),
                     hint="choose another split")  # fmt: skip
    settings = _recipe(part, recipe, context)
    if registration is None:
        return None
    assert isinstance(registration, MethodRegistration)
    if registration.trains != "reward_model":
        what = f"method {registration.name} trains no reward model"
        problems.add(part.at("use"), what, key=part.path("use"), expected=_trainers(context))
        return None
    hints = {field: f"{field} is a key of recipe: write recipe: {{{field}: …}}" for field in Recipe.model_fields}
    options = context.options("method", registration, part.without(REWARD_MODEL_KEYS), hints)
    if shell is None or settings is None or problems.met > before:
        return None
    return RewardModel(
        use=registration.name, options=options, recipe=settings, start=shell.start, train=learnt, test=tested,
        normalise=shell.normalise,
    )  # fmt: skip


def _existing(part: FilePart, context: Context) -> RewardModel | None:
    problems = context.problems
    before = problems.met
    for name in _TRAINED:
        if name in part.values:
            what = "is for a reward model that is trained here"
            problems.add(part.at(name), what, key=part.path(name), expected="use: METHOD instead of model:")
    for name, node in part.without(REWARD_MODEL_KEYS).values.items():
        problems.add(node.key or node.place, "unknown key", key=part.path(name))
    shell = check(_SectionKeys, part.only(("normalise",)), problems)
    existing = _model(part, context)
    tested = _data(part, "test", "test", context)
    _check_pairs(part, "test", tested, context)
    if shell is None or existing is None or problems.met > before:
        return None
    return RewardModel(model=existing, test=tested, normalise=shell.normalise)


def _model(part: FilePart, context: Context) -> Model | None:
    """Return the model, from ``model``, ``path`` and ``revision`` of the section itself."""
    node = part.values["model"]
    if node.is_mapping:  # with dtype or attention
        described = model(node, part.path("model"), context, part.place)
    else:
        beside = {name: part.values[name] for name in _EXISTING if name in part.values}
        described = model(Node({"name": node, **beside}, node.place), part.key, context, part.place)
    if described is not None and described.config is not None:
        what = "a reward model from random weights says nothing"
        context.problems.add(
            node.place, what, key=part.path("model", "config"), expected="use: METHOD, which trains one"
        )
        return None
    return described


def _data(part: FilePart, name: str, split: str, context: Context) -> DataUse | None:
    node = part.values.get(name)
    return None if node is None else data_use(node, part.path(name), split, context, part.place)


def _check_pairs(part: FilePart, name: str, use: DataUse | None, context: Context) -> None:
    if use is not None and not gives_pairs(use):
        what = f"a reward model is judged by preferences, and {use.dataset} provides {provided(use)}"
        context.problems.add(part.at(name), what, key=part.path(name), expected="a data set of preferences")


def _recipe(part: FilePart, recipe: FilePart, context: Context) -> Recipe | None:
    """Return the file's recipe with one epoch, and the section's own keys over it."""
    own = part_of(part.values.get("recipe"), part.path("recipe"), part.place, context.problems)
    for name, why in _IDLE.items():
        if name in own.values:
            context.problems.add(own.at(name), "means nothing for a reward model", key=own.path(name), hint=why)
    learnt = {key: node for key, node in recipe.values.items() if key not in _IDLE}
    inherited = {"epochs": Inherited(1, part.place, "the default of a reward model")}
    return merged_recipe(own, FilePart(recipe.key, recipe.place, learnt), inherited, context, branch=False)


def _trainers(context: Context) -> str:
    names = [name for name in context.registry.names("method") if trains_reward_model(name, context)]
    return f"one of {', '.join(names)}" if names else "a plugin that trains one, and none is installed"


def trains_reward_model(name: str, context: Context) -> bool:
    """Whether a method belongs under ``reward_model``."""
    registration = context.registry.get("method", name)
    return isinstance(registration, MethodRegistration) and registration.trains == "reward_model"
