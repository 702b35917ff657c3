"""Entries of ``methods`` for rows whose model was trained elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.registration import ELSEWHERE, MethodRegistration
from harness.benchmark.data import is_model_name, settled_base
from harness.benchmark.methods import BASE_ROW
from harness.benchmark.sections import FilePart, check, check_label, part_of
from harness.spec.elsewhere import ElsewhereEntry

if TYPE_CHECKING:
    from harness.benchmark.context import Context
    from harness.benchmark.problems import Place
    from harness.benchmark.source import Node
    from harness.spec.model import Model


def is_elsewhere(node: Node) -> bool:
    """Return whether an entry of ``methods`` is a row that nothing here trains."""
    use = node.items.get("use")
    return use is not None and use.value in ELSEWHERE


def elsewhere(node: Node, key: str, models: list[Model], context: Context, otherwise: Place) -> ElsewhereEntry | None:
    """Return one row; ``models`` are the file's."""
    problems = context.problems
    part = part_of(node, key, otherwise, problems)
    before = problems.met
    given = {} if "label" in part.values else {"label": ""}
    entry = check(ElsewhereEntry, part, problems, **given)
    if "label" in part.values:
        check_label(part.values["label"], part.path("label"), problems)
    if entry is None:
        return None
    _check_source(entry, part, context)
    labels = [model.shown for model in models]
    if entry.model is not None and entry.model not in labels:
        what = "no model of this file has this label"
        problems.add(part.at("model"), what, key=part.path("model"), got=entry.model, expected=", ".join(labels))
    elif entry.model is None and len(labels) > 1:
        what = "does not say in which model's tables it stands"
        problems.add(part.place, what, key=part.path("model"), expected=f"model: one of {', '.join(labels)}")
    path = context.path(part.values["path"], part.path("path")) if entry.path is not None else None
    base = settled_base(entry.base, part, context, path) if entry.use == "checkpoint" else None
    label = entry.label or _default_label(entry)
    _check_label(label, part, context)
    if problems.met > before:
        return None
    shown_under = entry.model or next(iter(labels), None)
    return entry.model_copy(update={"path": path, "base": base, "label": label, "model": shown_under})


def _check_source(entry: ElsewhereEntry, part: FilePart, context: Context) -> None:
    problems = context.problems
    if entry.use == "answers":
        for name in ("name", "revision", "base"):
            if getattr(entry, name) is not None:
                problems.add(part.at(name), "is for a checkpoint", key=part.path(name), expected="path: FILE.jsonl")
        if entry.path is None:
            problems.add(part.place, "is missing", key=part.path("path"), expected="path: FILE.jsonl")
        return
    if (entry.path is None) == (entry.name is None):
        what = "names both a folder and a model of the hub" if entry.path else "names no checkpoint"
        problems.add(part.place, what, key=part.key, expected="path: FOLDER, or name: OWNER/NAME")
    if entry.revision is not None and entry.name is None:
        what = "a revision is a commit on the hub, but this checkpoint is read from disk"
        problems.add(part.at("revision"), what, key=part.path("revision"))
    if entry.name is not None and not is_model_name(entry.name):
        expected = "owner/name of a model on the hub; a folder on disk goes under path:"
        problems.add(part.at("name"), "is not a name", key=part.path("name"), got=entry.name, expected=expected)


def _default_label(entry: ElsewhereEntry) -> str:
    if entry.path is None:
        return (entry.name or "").rpartition("/")[2]
    return Path(entry.path).stem if entry.use == "answers" else Path(entry.path).name


def _check_label(label: str, part: FilePart, context: Context) -> None:
    """Say that a label is another row's, or would be that of the row which all methods start from."""
    place = part.at("label" if "label" in part.values else "path")
    registry = context.registry
    taken = {BASE_ROW: "the untrained model's row"}
    for name in registry.names("method"):
        registration = registry.get("method", name)
        if isinstance(registration, MethodRegistration) and registration.supervised:
            taken[name] = "the row of the shared start"
    if label in taken:
        context.problems.add(place, f"{label} is the label of {taken[label]}", key=part.path("label"), got=label)
