"""The JSON Schema of benchmark files as people write them, with the options of every installed plugin, for editors.

It is looser than the check proper, which also sees files on disk and how things fit together. An entry that names a
plugin is told by ``if``/``then`` which options it may have, so that an editor blames the option and not the entry.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from pydantic import BaseModel

from harness.api.registration import ELSEWHERE, DatasetRegistration, MethodRegistration
from harness.benchmark.data import DATA_KEYS
from harness.benchmark.head import Head
from harness.benchmark.methods import METHOD_KEYS
from harness.benchmark.scores import PART_KEYS
from harness.benchmark.tuning import TuneKeys
from harness.plugins.option_groups import option_names
from harness.spec.benchmark import (
    Cases,
    Compare,
    DataUse,
    MethodEntry,
    Overoptimisation,
    RewardModel,
    Scorer,
    Timing,
)
from harness.spec.budget import Budget
from harness.spec.decoding import Decoding
from harness.spec.elsewhere import ElsewhereEntry
from harness.spec.execution import Execution, Slurm
from harness.spec.model import Model, Template
from harness.spec.recipe import AdapterSettings, Recipe, SamplingEngine
from harness.spec.reward import Reward, RewardUse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.api.registration import Kind, Registration
    from harness.plugins.registry import Registry

Json: TypeAlias = dict[str, Any]

_TEXT: Final[Json] = {"type": "string"}


def json_schema(registry: Registry) -> Json:
    """Return the schema (draft 2020-12) of a benchmark file."""
    definitions: Json = {
        "recipe": _closed(_properties(Recipe)),
        "AdapterSettings": _closed(_properties(AdapterSettings)),
        "SamplingEngine": _closed(_properties(SamplingEngine)),
        "Budget": _closed(_properties(Budget), ["unit", "amount"]),
        "decoding": _closed(_properties(Decoding)),
        "model": {"anyOf": [_TEXT, _closed(_properties(Model), ["name"])]},
    }
    _add_plugins(definitions, registry)
    properties = _file()
    overlay = {name: _overlay(name, schema, definitions) for name, schema in properties.items() if name != "benchmark"}
    properties["profile"] = {**_TEXT, "description": "The profile that runs where --profile names none."}
    properties["profiles"] = {
        "type": "object",
        "additionalProperties": _closed(overlay),
        "description": "Named settings laid over the file: mappings are merged, anything else is replaced.",
    }
    evaluated = ["evaluate", "decoding", "metrics"]
    required = ["benchmark", "seeds", "models", "template", "train", "methods"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A benchmark file of posttune-harness",
        # a profile may give what the file itself leaves out
        **_closed(properties, ["benchmark"]),
        "if": {"not": {"required": ["profiles"]}},
        "then": {"required": required, "if": {"not": {"required": ["timing"]}}, "then": {"required": evaluated}},
        "$defs": definitions,
    }


def _file() -> Json:
    data, method, metric = (_ref(kind) for kind in ("dataset", "method", "metric"))
    rows = {**_list(_row(method), "The rows of the tables."), "minItems": 0}
    return {
        **_properties(Head),
        "models": _list(_ref("model"), "The models, each with all rows of the tables."),
        "template": {
            "if": {"type": "object"},
            "then": {**_closed(_properties(Template)), "anyOf": [{"required": ["text"]}, {"required": ["chat"]}]},
            "else": {"const": "chat"},
            "description": "How a row becomes a prompt; `chat` is the chat template of each model's tokenizer.",
        },
        "train": {**data, "description": "What every method trains on."},
        "validation": {**data, "description": "What settings are chosen on."},
        "evaluate": _list(data, "What the tables report."),
        "reward": {
            **_either("parts", _ref("reward-parts"), _ref("reward")),
            "description": "What methods that need a reward are given: one, or parts put together.",
        },
        "reward_model": {
            **_either("model", _ref("reward_model_existing"), _ref("reward_model")),
            "description": "What learns from preferences how good an answer is, or has learnt it.",
        },
        "recipe": {**_ref("recipe"), "description": "How every run is trained."},
        "decoding": {
            "type": "object",
            "additionalProperties": {"anyOf": [_ref("decoding"), {"type": "null"}]},
            "description": "Name to setting; every row is decoded under every one.",
        },
        "methods": rows,
        "metrics": _list(metric, "What answers are measured by."),
        "scorer": _closed(_properties(Scorer)),
        "compare": _closed(_properties(Compare)),
        "cases": _closed(_properties(Cases)),
        "overoptimisation": _closed(_properties(Overoptimisation), ["gold", "proxy", "kl"]),
        "tune": _closed(_properties(TuneKeys), ["options"]),
        "timing": _closed(_properties(Timing)),
        "sources": {
            "type": "object",
            "additionalProperties": _TEXT,
            "description": "Data set, model or label to the file or folder where it lies; part of no id.",
        },
        "execution": _closed(_properties(Execution) | {"slurm": _closed(_properties(Slurm))}),
    }


def _row(method: Json) -> Json:
    """Return an entry of ``methods``: trained here, or elsewhere."""
    foreign = {"type": "object", "required": ["use"], "properties": {"use": {"enum": list(ELSEWHERE)}}}
    entry = _properties(ElsewhereEntry) | {"use": {"enum": list(ELSEWHERE)}}
    return {"if": foreign, "then": _closed(entry, ["use"]), "else": method}


def _overlay(name: str, schema: Json, definitions: Json) -> Json:
    """Return what a profile may say of a key: a mapping need not be whole, and null takes the key away."""
    if name == "template":
        schema = {**schema, "then": {key: value for key, value in schema["then"].items() if key != "anyOf"}}
    elif name in {"train", "validation"}:
        partial = {"type": "object", "properties": definitions["data-keys"]["properties"]}
        schema = {"if": {"type": "object", "not": {"required": ["dataset"]}}, "then": partial, "else": schema}
    elif name in {"reward", "reward_model"}:
        given = {"anyOf": [{"required": ["use"]}, {"required": ["parts"]}, {"required": ["model"]}]}
        schema = {"if": {"type": "object", "not": given}, "then": {"type": "object"}, "else": schema}
    elif name == "recipe":
        keys = definitions["recipe"]["properties"].items()
        schema = _closed({key: {"anyOf": [value, {"type": "null"}]} for key, value in keys})
    else:
        schema = {key: value for key, value in schema.items() if key != "required"}
    return {"if": {"not": {"type": "null"}}, "then": schema}


def _add_plugins(definitions: Json, registry: Registry) -> None:
    """Add one definition a plugin: its options beside the keys that the harness reads."""
    data = _properties(DataUse, DATA_KEYS)
    part = _properties(RewardUse, PART_KEYS)
    trainers: list[str] = []
    row = _properties(MethodEntry, METHOD_KEYS) | {"recipe": _ref("recipe")}
    for kind in ("dataset", "reward", "method", "metric"):
        for name in registry.names(kind):
            registration = registry.get(kind, name)
            options, required = _options(kind, registration, definitions)
            entry: Json
            if isinstance(registration, DatasetRegistration):
                named = "dataset"
                known = registration.splits_of is None  # else the user's files say which there are
                entry = data | ({"split": {"enum": list(registration.splits)}} if known else {})
            elif isinstance(registration, MethodRegistration):
                named, required = "use", []  # a preset or a sweep may give what has no default
                presets = list(registration.presets)
                entry = row | {"sweep": _sweep(options, registration.options)}
                entry |= {"preset": {"enum": presets}} if presets else {}
            else:
                named = "use"
                entry = part if kind == "reward" else {}
            entry = {**entry, named: {"const": name, "description": registration.summary}, **options}
            if isinstance(registration, MethodRegistration) and registration.trains == "reward_model":
                trainers.append(name)
                entry = _reward_model({"recipe": _ref("recipe")}) | {"use": entry["use"]} | options
                definitions[f"reward_model-{name}"] = _closed(entry, ["use"])
            else:
                definitions[f"{kind}-{name}"] = _closed(entry, [named, *required])
        names = [name for name in registry.names(kind) if kind != "method" or name not in trainers]
        definitions[kind] = _named(kind, "dataset" if kind == "dataset" else "use", names)
    definitions["reward_model"] = _named("reward_model", "use", trainers)
    existing = {"path": _TEXT, "revision": _TEXT, "model": _ref("model"), **_reward_model({})}
    definitions["reward_model_existing"] = _closed(existing, ["model"])
    definitions["data-keys"] = {"properties": {key: value for key, value in data.items() if key != "dataset"}}
    parts = _list(_ref("reward"), "The rewards that are put together.")
    definitions["reward-parts"] = _closed({"parts": parts, **_properties(Reward, ["aggregate"])}, ["parts"])


def _reward_model(more: Json) -> Json:
    """Return the keys of a reward model that are no options: of every one, and ``more`` of one that is trained."""
    names = ["start", "normalise"] if more else ["normalise"]
    data = {name: _ref("dataset") for name in (("train", "test") if more else ("test",))}
    return _properties(RewardModel, names) | data | more


def _options(kind: Kind, registration: Registration, definitions: Json) -> tuple[Json, list[str]]:
    prefix = f"{kind}-{registration.name}-"
    schema = registration.options.model_json_schema(ref_template=f"#/$defs/{prefix}{{model}}")
    for name, inner in schema.pop("$defs", {}).items():
        definitions[prefix + name] = inner
    return schema.get("properties", {}), schema.get("required", [])


def _sweep(options: Json, model: type[BaseModel]) -> Json:
    values: Json = {"type": "array", "minItems": 1}
    swept = {name: {**values, "items": field} for name, field in options.items()}
    swept |= {name: values for name in option_names(model) if "." in name}
    recipe = rf"^recipe\.({'|'.join(Recipe.model_fields)})$"
    return {
        **_closed(swept),
        "patternProperties": {recipe: values, r"^reward_weights\..": values},
        "description": "Option (or GROUP.OPTION, recipe.NAME, reward_weights.PART) to values: one row a combination.",
    }


def _named(kind: str, key: str, names: Iterable[str]) -> Json:
    """Return a plugin's bare name, or a mapping that says by ``key`` which plugin's options stand in it."""
    choice: Json = {"enum": list(names)}
    cases = [
        {"if": {"properties": {key: {"const": name}}, "required": [key]}, "then": _ref(f"{kind}-{name}")}
        for name in names
    ]
    mapping: Json = {"type": "object", "required": [key], "properties": {key: choice}}
    mapping |= {"allOf": cases} if cases else {}
    return {"if": {"type": "object"}, "then": mapping, "else": choice}


def _either(key: str, with_key: Json, without: Json) -> Json:
    return {"if": {"type": "object", "required": [key]}, "then": with_key, "else": without}


def _properties(model: type[BaseModel], names: Iterable[str] | None = None) -> Json:
    """Return the fields of a section, without what does not concern an editor."""
    fields, said = model.model_json_schema().get("properties", {}), _docstrings(model)
    wanted = fields if names is None else [name for name in names if name in fields]
    return {
        name: {k: v for k, v in {**fields[name], **said.get(name, {})}.items() if k not in {"changes", "title"}}
        for name in wanted
    }


def _docstrings(model: type[BaseModel]) -> dict[str, Json]:
    """Return the text below each field of a section as its description.

    Read here, where it is shown: pydantic would read the source of every section whenever one is imported.
    """
    said: dict[str, Json] = {}
    for section in reversed(model.__mro__):
        if section is BaseModel or not issubclass(section, BaseModel):
            continue
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(section))).body
        assert isinstance(definition, ast.ClassDef)
        for field, below in itertools.pairwise(definition.body):
            text = below.value if isinstance(below, ast.Expr) else None
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(text, ast.Constant)
            ):
                said[field.target.id] = {"description": inspect.cleandoc(str(text.value))}
    return said


def _closed(properties: Json, required: Iterable[str] = ()) -> Json:
    schema: Json = {"type": "object", "properties": properties, "additionalProperties": False}
    names = list(required)
    return {**schema, "required": names} if names else schema


def _list(items: Json, description: str) -> Json:
    return {"type": "array", "items": items, "minItems": 1, "description": description}


def _ref(name: str) -> Json:
    return {"$ref": f"#/$defs/{name}"}
