"""The data sets of a benchmark file, and its models."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.api.registration import DATA_KINDS, DataKind, DatasetRegistration
from harness.benchmark.overlay import as_mapping
from harness.benchmark.problems import printable
from harness.benchmark.sections import check, check_label, part_of
from harness.errors import InputError, suggest
from harness.spec.benchmark import DataUse
from harness.spec.model import Model
from harness.spec.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.benchmark.context import Context
    from harness.benchmark.problems import Place, Problems
    from harness.benchmark.sections import FilePart
    from harness.benchmark.source import Node

#: Keys of a data set's entry that the harness reads; all others are options of the plugin.
DATA_KEYS: Final = (
    "dataset", "split", "path", "limit", "pair_with", "train_on_reference", "overlong", "label", "group",
)  # fmt: skip
_MODEL_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")
#: How transformers configurations call the longest context.
_CONTEXT_KEYS: Final = ("n_positions", "max_position_embeddings")


def data_use(node: Node, key: str, split: str, context: Context, otherwise: Place) -> DataUse | None:
    """Return one use of a data set: a name, or a mapping with the plugin's options beside the harness's own keys.

    ``split`` is taken where the entry names none.
    """
    part = part_of(as_mapping(node, "dataset"), key, otherwise, context.problems)
    before = context.problems.met
    core = part.only(DATA_KEYS)
    registration = context.registration("dataset", part.values.get("dataset"), part, "dataset")
    given = {} if "split" in part.values else {"split": split}
    if registration is None and "dataset" not in part.values:
        given["dataset"] = "?"  # said to be missing already
    use = check(DataUse, core, context.problems, **given)
    if "label" in part.values:
        check_label(part.values["label"], part.path("label"), context.problems)
    if registration is None:
        return None
    assert isinstance(registration, DatasetRegistration)
    hints = {name: f"{name} is a key of recipe" for name in Recipe.model_fields}
    options = context.options("dataset", registration, part.without(DATA_KEYS), hints)
    if use is None:
        return None
    path = context.source((use.label, use.dataset), part.values.get("path"), part.path("path"))
    if path is not None and registration.generated:
        place = part.at("path")
        context.problems.add(place, f"data set {use.dataset} is generated and reads no file", key=part.path("path"))
    if registration.splits_of is None:
        _check_split(use, registration.splits, part, context.problems)
    if context.problems.met > before:
        return None
    kind = _kind_and_split(registration, use, options, path, part, context)
    if kind is not None:
        _check_made(use, kind, part, context.problems)
    if context.problems.met > before:
        return None
    own = {"options": options, "path": path, "label": use.label or use.dataset, "kind": kind}
    return use.model_copy(update=own)


def _check_split(use: DataUse, splits: Sequence[str], part: FilePart, problems: Problems) -> None:
    if splits and use.split not in splits:
        expected = f"one of {', '.join(splits)}"
        near = suggest(use.split, splits)
        what = f"data set {use.dataset} has no such split"
        problems.add(part.at("split"), what, key=part.path("split"), got=use.split, expected=expected,
                     did_you_mean=near)  # fmt: skip


def _kind_and_split(
    registration: DatasetRegistration, use: DataUse, options: Any, path: str | None, part: FilePart, context: Context
) -> DataKind | None:
    """Return what the rows are; None after adding why that cannot be told, or that there is no such split."""
    name = registration.name
    named = "dataset" if path is None else "path"
    place, key = part.at(named), part.path(named)
    source = None if path is None else Path(path)
    try:
        built = context.registry.options("dataset", name, options)
        if registration.splits_of is not None:
            before = context.problems.met
            _check_split(use, registration.splits_in(built, source), part, context.problems)
            if context.problems.met > before:
                return None
        kind = registration.kind(built, source, use.split)
    except InputError as error:
        what = f"{error.where}: {error.what}" if error.where else error.what
        more = {} if error.got is None else {"got": error.got}
        context.problems.add(place, what, key=key, expected=error.expected, did_you_mean=error.did_you_mean,
                             hint=error.hint, **more)  # fmt: skip
        return None
    except Exception as error:  # noqa: BLE001  # a plugin's function may raise anything
        what = f"the kind of data set {name} cannot be told: {printable(f'{type(error).__name__}: {error}')}"
        context.problems.add(place, what, key=key)
        return None
    if kind not in DATA_KINDS:
        what = f"data set {name} says that its rows are of a kind that does not exist"
        context.problems.add(place, what, key=key, got=kind, expected=f"one of {', '.join(DATA_KINDS)}")
        return None
    return kind


def _check_made(use: DataUse, kind: DataKind, part: FilePart, problems: Problems) -> None:
    """Say what cannot be made of rows of this kind."""
    place, key = part.at("pair_with"), part.path("pair_with")
    if use.pair_with is not None and kind == "preferences":
        problems.add(place, f"data set {use.dataset} has preferences already", key=key)
    elif use.pair_with is not None and kind != "demonstrations":
        what = f"preferences are made of demonstrations, and {use.dataset} provides {DATA_KINDS[kind]}"
        problems.add(place, what, key=key)
    if use.train_on_reference is not None and kind not in {"references", "demonstrations"}:
        place, key = part.at("train_on_reference"), part.path("train_on_reference")
        what = f"{use.dataset} provides {DATA_KINDS[kind]}, which need no reference to be trained on"
        if kind == "prompts":
            what = f"{use.dataset} provides prompts alone, which have no references"
        problems.add(place, what, key=key)


def provided(use: DataUse) -> str:
    """Return what the rows are, in the words of a message."""
    return DATA_KINDS[use.kind or "demonstrations"]


def gives_pairs(use: DataUse) -> bool:
    """Whether a use of a data set gives preferences: by its nature, or because they are made for it."""
    return use.kind == "preferences" or use.pair_with is not None


def same_rows(one: DataUse, other: DataUse) -> bool:
    """Whether two uses read the same split of the same data."""
    keys = ("dataset", "options", "split", "path")
    return all(getattr(one, key) == getattr(other, key) for key in keys)


def model(node: Node, key: str, context: Context, otherwise: Place) -> Model | None:
    """Return a model: a hub name, or a mapping."""
    problems = context.problems
    part = part_of(as_mapping(node, "name"), key, otherwise, problems)
    before = problems.met
    described = check(Model, part, problems)
    if "label" in part.values and part.values["label"].value is not None:
        check_label(part.values["label"], part.path("label"), problems)
    if described is None:
        return None
    folder = context.folder_called(described.name, part.at("name"))
    if folder is not None and described.path is None and described.config is None and not _sourced(described, context):
        short = folder.name if is_model_name(folder.name) else "NAME"
        problems.add(
            part.at("name"),
            "is a folder here, and would be taken for the name of a model on the hub",
            key=part.path("name"),
            got=described.name,
            expected="owner/name of a model on the hub, or a short name with path: beside it",
            hint=f"{{name: {short}, path: {described.name}}} reads the folder",
        )
    elif not is_model_name(described.name):
        hint = "a folder on disk goes under path:, beside a name for the tables"
        expected = "owner/name of a model on the hub, or a short name"
        problems.add(
            part.at("name"), "is not a name", key=part.path("name"), got=described.name, expected=expected, hint=hint
        )
    label = described.label or described.name.rpartition("/")[2]
    path = context.source((label, described.name), part.values.get("path"), part.path("path"))
    _check_new(described, part, problems, path)
    base = settled_base(described.base, part, context, path)
    if path is not None and described.revision is not None:
        what = "a revision is a commit on the hub, but this model is read from disk"
        problems.add(part.at("revision"), what, key=part.path("revision"), hint=f"from {path}")
    if problems.met > before:
        return None
    return described.model_copy(update={"path": path, "label": label, "base": base})


def settled_base(base: str | None, part: FilePart, context: Context, path: str | None) -> str | None:
    """Return what the adapter under ``path`` goes on: an absolute path of what is on disk, or else a hub name."""
    if base is None:
        return None
    place, key = part.at("base"), part.path("base")
    if path is None:
        context.problems.add(place, "is what an adapter on disk goes on", key=key, expected="path beside it")
    here = (context.folder if place.line else Path()) / Path(base).expanduser()
    if here.exists():
        return str(here.absolute())
    if not is_model_name(base):
        context.problems.add(place, "is neither a folder nor a hub name", key=key, got=base)
    return base


def _sourced(described: Model, context: Context) -> bool:
    """Whether ``sources`` say where a model lies."""
    return bool({described.name, described.label or described.name.rpartition("/")[2]} & context.sources.keys())


def is_model_name(name: str) -> bool:
    """Whether ``name`` may be that of a model on the hub."""
    return bool(_MODEL_NAME.fullmatch(name)) and ".." not in name and len(name) <= 96


def _check_new(described: Model, part: FilePart, problems: Problems, path: str | None) -> None:
    if described.config is None:
        if described.vocab_size is not None:
            what = "is for a model with random weights"
            problems.add(part.at("vocab_size"), what, key=part.path("vocab_size"), expected="config beside it")
        return
    place, key = part.at("config"), part.path("config")
    if path is not None or described.revision is not None:
        problems.add(place, "a model is read (path, revision, sources) or made from a config, not both", key=key)
    if not isinstance(described.config.get("model_type"), str):
        problems.add(place, "names no model_type", key=key, expected="model_type: gpt2, opt, gpt_neox, …")
    if described.vocab_size is None:
        what = "is missing: a model with random weights needs a tokenizer"
        problems.add(place, what, key=part.path("vocab_size"), expected="the entries of its BPE, such as 2000")
    if "vocab_size" in described.config:
        what = "the number of tokens is given beside config, as vocab_size of the model"
        problems.add(part.values["config"].items["vocab_size"].place, what, key=f"{key}.vocab_size")


def context_length(described: Model) -> int | None:
    """Return the longest context of a model that is made from a configuration, where that says it."""
    for key in _CONTEXT_KEYS:
        length = (described.config or {}).get(key)
        if isinstance(length, int):
            return length
    return None
