"""What a registration must be before it counts: every rule that a plugin can break without Python noticing."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, get_args

from pydantic import AliasChoices, AliasPath, BaseModel

from harness.api.registration import (
    DATA_KINDS,
    ELSEWHERE,
    RESERVED_KEYS,
    Column,
    DatasetRegistration,
    Kind,
    MethodRegistration,
    MetricNeed,
    MetricRegistration,
    Need,
    Preset,
    Registration,
    RewardNeed,
    RewardRegistration,
    Role,
)
from harness.errors import PluginError, suggest
from harness.plugins.called_with import CALLED_WITH
from harness.plugins.option_groups import option_groups

#: Kind of plugin and class of its registrations, by the hook that returns them.
HOOKS: Final[Mapping[str, tuple[Kind, type[Registration]]]] = {
    "harness_register_methods": ("method", MethodRegistration),
    "harness_register_rewards": ("reward", RewardRegistration),
    "harness_register_datasets": ("dataset", DatasetRegistration),
    "harness_register_metrics": ("metric", MetricRegistration),
}

#: Keys of ``reward_model:`` in a benchmark file that the core reads: no option of a method that trains one may be one.
REWARD_MODEL_KEYS: Final = frozenset({"model", "path", "revision", "recipe", "start", "train", "test", "normalise"})

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_IMPORT_STRING = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def returned_registrations(hook: str, result: object) -> list[Registration]:
    """Return what a hook gave as a checked list; raise PluginError when it is anything else."""
    kind, expected = HOOKS[hook]
    wanted = f"a list of {expected.__name__}"
    if result is None:
        raise PluginError(f"{hook} returned None; expected {wanted} (is `return` missing?)")
    if isinstance(result, (str, bytes, Mapping, expected)) or not hasattr(result, "__iter__"):
        raise PluginError(f"{hook} returned {_kind_of(result)}; expected {wanted}")
    registrations = list(result)
    for registration in registrations:
        if not isinstance(registration, expected):
            raise PluginError(f"{hook} returned a list with {_kind_of(registration)} in it; expected {wanted}")
        check_registration(kind, registration)
    return registrations


def check_registration(kind: Kind, registration: Registration) -> None:
    """Raise PluginError, which names the registration, when one of its fields breaks the contract."""
    what = f"{kind} {registration.name!r}"
    if not isinstance(registration.name, str) or not _NAME.fullmatch(registration.name):
        raise PluginError(f"{what}: a name is lower-case letters, digits and single hyphens")
    if not isinstance(registration.summary, str) or not registration.summary.strip() or "\n" in registration.summary:
        raise PluginError(f"{what}: `summary` must be one line of text")
    if not isinstance(registration.source, str):
        raise PluginError(f"{what}: `source` must be text")
    if isinstance(registration.build, str):
        if not _IMPORT_STRING.fullmatch(registration.build):
            raise PluginError(f"{what}: `build` must be 'package.module:name' or a callable", got=registration.build)
    elif not callable(registration.build):
        raise PluginError(f"{what}: `build` must be 'package.module:name' or a callable", got=registration.build)
    _check_names(what, "modules", registration.modules)
    if registration.preflight is not None and not callable(registration.preflight):
        raise PluginError(f"{what}: `preflight` must be a function of the options", got=registration.preflight)
    _check_options(what, registration.options)
    match registration:
        case MethodRegistration():
            _check_method(what, registration)
        case RewardRegistration():
            _check_choice(what, "needs", registration.needs, get_args(RewardNeed))
            _check_range(what, registration.range)
            _check_columns(what, registration)
            _check_by_options(what, registration.by_options)
        case DatasetRegistration():
            _check_names(what, "splits", registration.splits, some=True)
            _check_choice(what, "provides", [registration.provides], DATA_KINDS)
            for field, arguments in (
                ("kind_of", "options, path and split"), ("splits_of", "options and path"), ("sketch", "a path"),
            ):  # fmt: skip
                asked: object = getattr(registration, field)
                if asked is not None and not callable(asked):
                    raise PluginError(f"{what}: `{field}` must be a function of {arguments}", got=asked)
        case MetricRegistration():
            _check_metric(what, registration)


def _kind_of(value: object) -> str:
    return f"{type(value).__name__} {value!r}" if isinstance(value, (str, bytes)) else type(value).__name__


def _check_names(what: str, field: str, names: object, *, some: bool = False) -> None:
    if not isinstance(names, (tuple, list)) or not all(isinstance(name, str) and name for name in names):
        raise PluginError(f"{what}: `{field}` must be a tuple of names", got=names)
    if len(set(names)) < len(names) or (some and not names):
        raise PluginError(f"{what}: `{field}` must be {'one or more ' if some else ''}different names", got=names)


def _check_choice(what: str, field: str, values: object, allowed: Collection[str | None]) -> None:
    if isinstance(values, str) or not isinstance(values, Collection):
        raise PluginError(f"{what}: `{field}` must be a set", got=values)
    for value in values:
        if value not in allowed:
            raise PluginError(
                f"{what}: `{field}` has an unknown value",
                got=value,
                expected=", ".join(sorted(name for name in allowed if name)),
                did_you_mean=suggest(str(value), filter(None, allowed)),
            )


def _check_options(what: str, options: object) -> None:
    if not isinstance(options, type) or not issubclass(options, BaseModel):
        raise PluginError(f"{what}: `options` must be a subclass of harness.api.Options", got=options)
    for name, keys in _keys(options):
        for key in sorted(keys & RESERVED_KEYS):
            via = "" if key == name else f" (an alias of {name!r})"
            raise PluginError(f"{what}: option {key!r}{via} has a name that benchmark files reserve")
    for model in _models(options, set()):
        if model.model_config.get("extra") != "forbid":
            raise PluginError(
                f"{what}: options model {model.__name__} would swallow misspelt options; expected"
                " model_config with extra='forbid' (harness.api.Options has it)"
            )


def _keys(options: type[BaseModel]) -> Iterator[tuple[str, set[str]]]:
    """Yield each option with every key that a file may give it by."""
    for name, field in options.model_fields.items():
        keys = {name}
        aliases: list[object] = [field.alias, field.validation_alias]
        while aliases:
            alias = aliases.pop()
            if isinstance(alias, AliasChoices):
                aliases.extend(alias.choices)
            elif isinstance(alias, AliasPath):
                aliases.append(alias.path[0])
            elif isinstance(alias, str):
                keys.add(alias)
        yield name, keys


def _models(annotation: Any, seen: set[type[BaseModel]]) -> Iterator[type[BaseModel]]:
    """Yield every pydantic model in an annotation, those in its fields included."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if annotation in seen:
            return
        seen.add(annotation)
        yield annotation
        for field in annotation.model_fields.values():
            yield from _models(field.annotation, seen)
    for argument in get_args(annotation):
        yield from _models(argument, seen)


def _check_method(what: str, registration: MethodRegistration) -> None:
    if registration.name in ELSEWHERE:
        raise PluginError(f"{what}: entries of `methods` with this name are rows that were trained elsewhere")
    _check_choice(what, "needs", registration.needs, get_args(Need))
    _check_choice(what, "start", [registration.start], ("branch", "after"))
    _check_active(what, "active", registration.active)
    _check_listed(what, "logs", registration.logs)
    _check_choice(what, "trains", [registration.trains], ("policy", "reward_model"))
    _check_columns(what, registration)
    _check_by_options(what, registration.by_options)
    if registration.trains == "reward_model":
        for name, keys in _keys(registration.options):
            if taken := sorted(keys & REWARD_MODEL_KEYS):
                raise PluginError(f"{what}: option {name!r} has a name that `reward_model:` reserves", got=taken[0])
    fields = registration.options.model_fields
    groups = option_groups(registration.options)
    for name, preset in registration.presets.items():
        if not isinstance(preset, Preset):
            raise PluginError(f"{what}: preset {name!r} must be a Preset", got=preset)
        if preset.active is not None:
            _check_active(what, f"presets[{name!r}].active", preset.active)
        for key, value in preset.options.items():
            known = [f"{key}.{inner}" for inner in groups[key].model_fields] if key in groups else fields
            given = [f"{key}.{inner}" for inner in value] if key in groups and isinstance(value, Mapping) else [key]
            for option in given:
                if option not in known:
                    near = suggest(option, known)
                    raise PluginError(f"{what}: preset {name!r} sets an unknown option", got=option, did_you_mean=near)
    default = registration.default_preset
    if default is not None and default not in registration.presets:
        raise PluginError(
            f"{what}: `default_preset` is none of the presets",
            got=default,
            did_you_mean=suggest(default, registration.presets),
        )


def _check_columns(what: str, registration: MethodRegistration | RewardRegistration | MetricRegistration) -> None:
    """Check the names of the columns of data that a plugin reads."""
    _check_names(what, "reads", registration.reads)
    may_read = () if isinstance(registration, MethodRegistration) else registration.may_read
    _check_names(what, "may_read", may_read)
    for name in (*registration.reads, *may_read):
        if name in CALLED_WITH:
            raise PluginError(f"{what}: `reads` names what every reward is called with, and no column", got=name)


def _check_active(what: str, field: str, active: object) -> None:
    if isinstance(active, bool) or not isinstance(active, int):
        _check_choice(what, field, [active], ("last", "all_but_last", "all"))
    elif active < 0:
        raise PluginError(f"{what}: `{field}` must be epochs by name, or a step from 0", got=active)


def _check_listed(what: str, field: str, columns: object) -> None:
    if not isinstance(columns, (tuple, list)) or not all(isinstance(column, Column) for column in columns):
        raise PluginError(f"{what}: `{field}` must be a tuple of Column", got=columns)
    _check_names(what, field, [column.name for column in columns])


def _check_by_options(what: str, by_options: object) -> None:
    if by_options is not None and not callable(by_options):
        raise PluginError(f"{what}: `by_options` must be a function of the options", got=by_options)


def _check_range(what: str, limits: object) -> None:
    if limits is None:
        return
    numbers = isinstance(limits, (tuple, list)) and all(isinstance(x, (int, float)) for x in limits)
    if not numbers or not isinstance(limits, (tuple, list)) or len(limits) != 2 or not limits[0] < limits[1]:
        raise PluginError(f"{what}: `range` must be (smallest, largest) or None", got=limits)


def _check_metric(what: str, registration: MetricRegistration) -> None:
    _check_listed(what, "columns", registration.columns)
    _check_listed(what, "corpus", registration.corpus)
    _check_columns(what, registration)
    _check_by_options(what, registration.by_options)
    if not (registration.columns or registration.corpus or registration.by_options):
        raise PluginError(f"{what}: it has neither `columns` nor `corpus`: a metric shows one number at least")
    _check_choice(what, "needs", registration.needs, get_args(MetricNeed))
    names = [column.name for column in (*registration.columns, *registration.corpus)]
    if registration.headline and registration.by_options is None:
        _check_choice(what, "headline", [registration.headline], names)
    _check_choice(what, "role", [registration.role], get_args(Role))
    if type(registration.draws) is not int or registration.draws < 1:
        raise PluginError(f"{what}: `draws` must be a number of answers to a prompt, 1 or more", got=registration.draws)
    per_answer = {column.name for column in registration.columns}
    headline = registration.headline or next(iter(per_answer), None)
    if registration.role == "score" and registration.by_options is None and headline not in per_answer:
        raise PluginError(
            f"{what}: the number that stands for a score must be one of `columns`, which rows are compared by",
            got=f"headline {headline!r}, which `corpus` has" if headline else "`corpus` alone",
            expected="a Column in `columns`, or another role, such as role='other'",
        )
    _check_names(what, "opponents", registration.opponents)
    _check_names(what, "models_of", registration.models_of)
    if registration.models_of and "policy" not in registration.needs:
        raise PluginError(
            f"{what}: the models of other rows are compared with the policy",
            got=f"models_of {registration.models_of!r} without it",
            expected="needs=frozenset({'policy'}) beside models_of",
        )
    _check_names(what, "retryable", registration.retryable)
