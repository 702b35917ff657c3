"""One entry of ``methods``: from presets, the file's recipe and the entry's own keys to options and recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pydantic import ConfigDict

from harness.api.registration import MethodRegistration
from harness.benchmark.overlay import as_mapping, merge
from harness.benchmark.sections import FilePart, Inherited, check, check_label, part_of
from harness.errors import suggest
from harness.plugins.option_groups import option_groups, overlaid
from harness.spec.benchmark import MethodEntry
from harness.spec.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.api.registration import Preset
    from harness.benchmark.context import Context
    from harness.benchmark.problems import Place
    from harness.benchmark.source import Node

#: Keys of a method's entry that the harness reads; all others are options of the plugin.
METHOD_KEYS: Final = ("use", "label", "preset", "sweep", "recipe", "start", "active", "reward_weights")
#: The row of the untrained model, in every table.
BASE_ROW: Final = "base"


class _EntryKeys(MethodEntry):
    """The keys of an entry that are neither options nor recipe."""

    model_config = ConfigDict(extra="forbid")

    recipe: Recipe = Recipe()


def method(node: Node, key: str, recipe: FilePart, context: Context, otherwise: Place) -> MethodEntry | None:
    """Return one row, its sweep (if any) expanded already; ``recipe`` is the file's.

    Later wins: the defaults, the method's default preset (options alone), the file's recipe, the preset that the entry
    names (options, recipe and when the method is active), the entry's own keys.
    """
    problems = context.problems
    part = part_of(as_mapping(node, "use"), key, otherwise, problems)
    registration = context.registration("method", part.values.get("use"), part, "use")
    if "label" in part.values:
        check_label(part.values["label"], part.path("label"), problems)
    if registration is None:
        return None
    assert isinstance(registration, MethodRegistration)
    if registration.trains == "reward_model":
        what = f"method {registration.name} trains a reward model, which is not a row of a table"
        problems.add(part.at("use"), what, key=part.path("use"), expected=f"reward_model: {{use: {registration.name}}}")
        return None
    before = problems.met
    name, preset = _preset(part, registration, context)
    place = part.at("preset")
    inherited = _preset_options(registration, preset, name, place)
    own = part.without(METHOD_KEYS)
    groups = option_groups(registration.options)
    hints = {field: f"{field} is a key of recipe: write recipe: {{{field}: …}}" for field in Recipe.model_fields}
    whole = FilePart(own.key, own.place, own.values, inherited, groups)
    options = context.options("method", registration, whole, hints)
    shell = _shell(part, registration, preset, context)
    trained = _recipe(part, recipe, preset, name, place, context)
    if shell is None or trained is None or problems.met > before:
        return None
    entry = MethodEntry(
        use=registration.name,
        label=shell.label or registration.name,
        options=options,
        recipe=trained,
        start=shell.start,
        active=shell.active,
        reward_weights=shell.reward_weights,
        preset=name,
    )
    _check_label_of_other_rows(entry, part, context)
    if entry.recipe.budget is not None and entry.active != "last":
        what = "under a budget a method is active from the end of the shared start until the budget is spent"
        problems.add(part.at("active"), what, key=part.path("active"), got=entry.active, expected="last, or no budget")
    return entry if problems.met == before else None


def _preset(part: FilePart, registration: MethodRegistration, context: Context) -> tuple[str | None, Preset | None]:
    node = part.values.get("preset")
    if node is None or node.value is None:
        return None, None
    name, presets = node.value, registration.presets
    if not isinstance(name, str) or name not in presets:
        what = f"method {registration.name} has no such preset"
        expected = f"one of {', '.join(presets)}" if presets else "none: this method has no presets"
        near = suggest(str(name), presets)
        context.problems.add(node.place, what, key=part.path("preset"), got=node.plain(), expected=expected,
                             did_you_mean=near)  # fmt: skip
        return None, None
    return name, presets[name]


def _preset_options(
    registration: MethodRegistration, preset: Preset | None, name: str | None, place: Place
) -> dict[str, Inherited]:
    """Return the options of the default preset with those of the named one over them, and who says each."""
    layers = [registration.presets[registration.default_preset]] if registration.default_preset else []
    inherited = _inherited([layer.options for layer in layers], place, "the default preset")
    layers += [preset] if preset else []
    inherited |= _inherited([preset.options] if preset else [], place, f"preset {name}")
    values = overlaid(registration.options, [layer.options for layer in layers])
    return {option: one._replace(value=values[option]) for option, one in inherited.items()}


def _inherited(layers: list[Mapping[str, Any]], place: Place, source: str) -> dict[str, Inherited]:
    return {key: Inherited(value, place, source) for layer in layers for key, value in layer.items()}


def _shell(
    part: FilePart, registration: MethodRegistration, preset: Preset | None, context: Context
) -> _EntryKeys | None:
    core = part.only(("use", "label", "start", "active", "preset", "reward_weights"))
    given: dict[str, Any] = {}
    if "label" not in part.values:
        given["label"] = ""
    if "start" not in part.values:
        given["start"] = registration.start
    if "active" not in part.values:
        preset_active = preset.active if preset is not None else None
        given["active"] = registration.active if preset_active is None else preset_active
    return check(_EntryKeys, core, context.problems, **given)


def _recipe(
    part: FilePart, recipe: FilePart, preset: Preset | None, name: str | None, place: Place, context: Context
) -> Recipe | None:
    own = part_of(part.values.get("recipe"), part.path("recipe"), part.place, context.problems)
    # a preset beats the file's recipe, so that what it sets is not looked for there
    inherited = _inherited([preset.recipe] if preset else [], place, f"preset {name}")
    return merged_recipe(own, recipe, inherited, context, branch=_branches(part, context))


def merged_recipe(
    own: FilePart, recipe: FilePart, inherited: Mapping[str, Inherited], context: Context, *, branch: bool
) -> Recipe | None:
    """Return the file's ``recipe`` below what an entry inherits, and that below the entry's own keys."""
    values = {key: node for key, node in recipe.values.items() if key not in inherited} | dict(own.values)
    for name in ("budget", "adapter"):  # an entry may say a part of them otherwise
        shared, other = recipe.values.get(name), own.values.get(name)
        if shared is not None and other is not None and shared.is_mapping and other.is_mapping:
            values[name] = merge(shared, other)
    inherited = {key: value for key, value in inherited.items() if key not in own.values}
    whole = FilePart(own.key, own.place, values, inherited)
    merged = check(Recipe, whole, context.problems)
    if merged is not None:
        above = FilePart(recipe.key, recipe.place, {k: v for k, v in values.items() if k not in own.values}, inherited)
        check_recipe(merged, whole, above, context, branch=branch)
    return merged


def _branches(part: FilePart, context: Context) -> bool:
    node, use = part.values.get("start"), part.values["use"].value
    registration = context.registry.get("method", str(use))
    assert isinstance(registration, MethodRegistration)
    return (node.value if node is not None else registration.start) == "branch"


def check_recipe(recipe: Recipe, part: FilePart, shared: FilePart, context: Context, *, branch: bool) -> None:
    """Add what is wrong between the fields of a recipe; ``shared`` are those that the file gives to every row."""

    def add(name: str, what: str, expected: str | None = None) -> None:
        key = (shared if name in shared.values else part).path(name)
        context.problems.add(part.at(name), what, key=key, expected=expected)

    if recipe.budget is not None:
        _check_budget(recipe, part, add)
    elif branch and recipe.method_epochs > recipe.epochs:
        what = f"method_epochs is {recipe.method_epochs}, but there are {recipe.epochs} epochs in all"
        add("method_epochs" if "method_epochs" in part.values else "epochs", what, "method_epochs within epochs")
    rates = {"learning_rate": recipe.learning_rate}
    if recipe.method_learning_rate is not None:
        rates["method_learning_rate"] = recipe.method_learning_rate
    for name, rate in rates.items():
        if recipe.min_learning_rate > rate > 0:
            add("min_learning_rate", f"min_learning_rate {recipe.min_learning_rate:g} is above {name} {rate:g}")


def _check_budget(recipe: Recipe, part: FilePart, add: Callable[..., None]) -> None:
    """Add what cannot stand beside a budget."""
    for name in ("method_epochs", "max_steps"):
        if name in part.values and part.values[name].value is not None:
            add(name, "a budget says when a method's own training ends, and nothing else", f"no {name}, or no budget")
    if "method_schedule" in part.values and recipe.method_schedule == "continue":
        what = "under a budget the number of steps is not known beforehand, so that no schedule can go on over it"
        add("method_schedule", what, "restart")
    if not recipe.epochs and recipe.budget is not None and recipe.budget.unit == "sampled_tokens":
        what = "the supervised row, which samples nothing, has no epochs to train for"
        add("epochs", what, "1 or more, or a budget in another unit")


def _check_label_of_other_rows(entry: MethodEntry, part: FilePart, context: Context) -> None:
    place, key = part.at("label" if "label" in part.values else "use"), part.path("label")
    if entry.label == BASE_ROW:
        context.problems.add(place, f"{BASE_ROW} is the label of the untrained model's row", key=key)
    if entry.label != entry.use and entry.label in context.registry.names("method"):
        other = context.registry.get("method", entry.label)
        if isinstance(other, MethodRegistration) and other.supervised:
            what = f"{entry.label} is the label of the row of the shared start"
            context.problems.add(place, what, key=key, got=entry.label)
