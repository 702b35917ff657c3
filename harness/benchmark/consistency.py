"""What must fit together between the parts of a benchmark file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from harness.api.registration import MethodRegistration, RewardRegistration
from harness.benchmark.data import context_length, gives_pairs, provided, same_rows
from harness.benchmark.opponents import check_opponents
from harness.benchmark.scores import check_weights

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.benchmark.context import Context
    from harness.benchmark.problems import Place
    from harness.benchmark.sections import FilePart
    from harness.benchmark.source import Node
    from harness.spec.benchmark import DataUse, MethodEntry, MetricUse
    from harness.spec.decoding import Decoding
    from harness.spec.elsewhere import ElsewhereEntry
    from harness.spec.model import Model
    from harness.spec.recipe import Recipe
    from harness.spec.reward import Reward

    Models: TypeAlias = Sequence[tuple[Node, Model | None]]
    Uses: TypeAlias = Sequence[tuple[Node, DataUse | None]]
    Methods: TypeAlias = Sequence[tuple[Node, MethodEntry | None]]
    Elsewhere: TypeAlias = Sequence[tuple[Node, ElsewhereEntry | None]]
    Metrics: TypeAlias = Sequence[tuple[Node, MetricUse | None]]


@dataclass(frozen=True)
class FileParts:
    """What the parts of a file come to, each with where it is written; what is wrong by itself is None."""

    models: Models
    train: DataUse | None
    validation: DataUse | None
    evaluate: Uses
    methods: Methods
    elsewhere: Elsewhere
    metrics: Metrics
    decoding: Mapping[str, Decoding]
    recipe: Recipe | None
    reward: Reward | None


def check_together(top: FilePart, context: Context, parts: FileParts) -> None:
    """Add what does not fit: names that are used twice, methods without what they need, tests on the training split."""
    _check_names(context, parts)
    _check_needs(top, context, parts.train, parts.methods)
    if parts.methods:
        _check_start(top, context, parts.train)
    _check_judges(top, context, parts.metrics)
    _check_draws(context, parts)
    for listed, entry in parts.methods:
        if entry is not None and entry.reward_weights:
            check_weights(listed, entry, parts.reward, context)
    check_opponents(context, parts.methods, parts.metrics)
    train = parts.train
    tested = [(f"evaluate.{use.label}", use, node) for node, use in parts.evaluate if use]
    for name, use, node in [("validation", parts.validation, top.values.get("validation")), *tested]:
        if train is not None and use is not None and node is not None and same_rows(use, train):
            context.problems.add(node.place, "is the split that is trained on", key=name, hint="choose another split")
    _check_dropped(context, parts)
    if parts.recipe is not None:
        _check_lengths(top, context, parts, parts.recipe)


def _place(node: Node, key: str) -> Place:
    named = node.items.get("label") or node.items.get(key)
    return named.place if named else node.place


def _check_names(context: Context, parts: FileParts) -> None:
    models = [(m.label or m.name, _place(node, "name"), f"models.{m.label}") for node, m in parts.models if m]
    context.duplicates(models, "model")
    uses = [(str(use.label), _place(node, "dataset"), f"evaluate.{use.label}") for node, use in parts.evaluate if use]
    context.duplicates(uses, "data set of evaluate")
    listed = [*parts.methods, *parts.elsewhere]
    rows = [(entry.label, _place(node, "use"), f"methods.{entry.label}") for node, entry in listed if entry]
    context.duplicates(rows, "method")
    named = [(use.use, _place(node, "use"), f"metrics.{use.use}") for node, use in parts.metrics if use]
    context.duplicates(named, "metric")


def _check_needs(top: FilePart, context: Context, train: DataUse | None, methods: Methods) -> None:
    for node, entry in methods:
        if entry is None:
            continue
        registration = context.registry.get("method", entry.use)
        assert isinstance(registration, MethodRegistration)
        registration = registration.resolved(context.registry.options("method", entry.use, entry.options))
        key, place = f"methods.{entry.label}", node.items["use"].place
        if "reward" in registration.needs and "reward" not in top.values:
            context.problems.add(place, f"method {entry.use} needs a reward, and the file has none", key=key,
                                 expected="reward: at the top of the file")  # fmt: skip
        if "reward_model" in registration.needs:
            _need_reward_model(top, context, f"method {entry.use}", key, place)
            if (judge := top.values.get("reward_model")) is not None and "model" in judge.items:
                what = f"method {entry.use} takes over the reward model, whose tokens must be the policy's"
                expected = "reward_model: {use: METHOD}, which is trained here"
                context.problems.add(place, what, key=key, expected=expected)
        if train is None:
            continue
        what = f"method {entry.use} needs {{}}, and {train.dataset} provides {provided(train)}"
        if "preferences" in registration.needs and not gives_pairs(train):
            expected = "a data set of preferences under train"
            context.problems.add(place, what.format("preferences"), key=key, expected=expected)
        if "labels" in registration.needs and train.kind != "unpaired_preferences":
            expected = "a data set of unpaired preferences under train"
            context.problems.add(place, what.format("unpaired preferences"), key=key, expected=expected)


def _check_start(top: FilePart, context: Context, train: DataUse | None) -> None:
    """Say that the start which all rows share has nothing to learn from."""
    node = top.values.get("train")
    if train is None or node is None or train.train_on_reference is not None:
        return
    if train.kind in {"references", "prompts"}:
        what = f"{train.dataset} provides {provided(train)}, and every method starts from supervised training"
        expected = "data with demonstrations or preferences"
        if train.kind == "references":
            expected += ", or train_on_reference: 1, which makes the first reference of each row its demonstration"
        context.problems.add(node.place, what, key="train", expected=expected)


def _check_judges(top: FilePart, context: Context, metrics: Metrics) -> None:
    """Say which rewards and metrics need a reward model that the file does not have."""
    node = top.values.get("reward")
    listed = node.items.get("parts") if node is not None else None
    for part in listed.elements if listed is not None else (node,) if node is not None else ():
        use = part.items.get("use", part)
        if isinstance(use.value, str) and use.value in context.registry.names("reward"):
            reward = context.registry.get("reward", use.value)
            if isinstance(reward, RewardRegistration) and "reward_model" in reward.needs:
                _need_reward_model(top, context, f"reward {use.value}", "reward", use.place)
    for node, metric in metrics:
        registration = context.resolved(metric) if metric is not None else None
        if metric is not None and registration is not None and "reward_model" in registration.needs:
            place = _place(node, "use")
            _need_reward_model(top, context, f"metric {metric.use}", f"metrics.{metric.use}", place)


def _check_draws(context: Context, parts: FileParts) -> None:
    """Say which metrics take more answers to a prompt than any decoding draws."""
    most = max((setting.draws for setting in parts.decoding.values()), default=0)
    for node, metric in parts.metrics:
        registration = context.resolved(metric) if metric is not None else None
        if metric is not None and registration is not None and 0 < most < registration.draws:
            what = f"metric {metric.use} takes {registration.draws} answers to a prompt, and no decoding draws as many"
            key, expected = f"metrics.{metric.use}", f"draws: {registration.draws} or more in a decoding"
            context.problems.add(_place(node, "use"), what, key=key, got=most, expected=expected)


def _need_reward_model(top: FilePart, context: Context, who: str, key: str, place: Place) -> None:
    if "reward_model" not in top.values:
        expected = "reward_model: at the top of the file, with use: METHOD or model: NAME"
        context.problems.add(place, f"{who} needs a reward model, and the file has none", key=key, expected=expected)


def _check_dropped(context: Context, parts: FileParts) -> None:
    """Say that a row from elsewhere may have other prompts: answers have them all, a checkpoint its own tokenizer."""
    foreign = ", ".join(entry.label for _, entry in parts.elsewhere if entry)
    for node, use in parts.evaluate:
        if foreign and use is not None and use.overlong == "drop":
            what = f"the prompts that are too long need not be the same for what was trained elsewhere ({foreign})"
            place, key = node.items["overlong"].place, f"evaluate.{use.label}.overlong"
            expected = "overlong: cut, or no row from elsewhere"
            context.problems.add(place, what, key=key, got="drop", expected=expected)


def _check_lengths(top: FilePart, context: Context, parts: FileParts, recipe: Recipe) -> None:
    """Say that prompts and answers do not fit, where a model's context is known from the file."""
    prompt = recipe.max_prompt_length
    place = _below(top, "recipe", "max_prompt_length")
    wanted = [("recipe", place, prompt + _answer(recipe))]
    for name, setting in parts.decoding.items():
        wanted.append((f"decoding.{name}", _below(top, "decoding", name), prompt + setting.max_new_tokens))
    for node, entry in parts.methods:
        if entry is not None and _lengths(entry.recipe) != _lengths(recipe):
            place = node.items.get("recipe", node.items["use"]).place
            tokens = entry.recipe.max_prompt_length + _answer(entry.recipe)
            wanted.append((f"methods.{entry.label}.recipe", place, tokens))
    for _, model in parts.models:
        context_size = context_length(model) if model else None
        for key, place, tokens in wanted:
            if model is not None and context_size is not None and tokens > context_size:
                what = f"prompt and answer may take {tokens} tokens; model {model.label} has room for {context_size}"
                context.problems.add(place, what, key=key)


def _below(top: FilePart, name: str, key: str) -> Place:
    node = top.values.get(name)
    return node.items.get(key, node).place if node else top.place


def _answer(recipe: Recipe) -> int:
    return max(recipe.max_completion_length, recipe.generate_length or 0)


def _lengths(recipe: Recipe) -> dict[str, int | None]:
    return {name: getattr(recipe, name) for name in ("max_prompt_length", "max_completion_length", "generate_length")}
