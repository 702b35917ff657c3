"""One mapping of the file against one pydantic model, with every mistake blamed on its own line."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from harness.errors import suggest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from pydantic_core import ErrorDetails

    from harness.benchmark.problems import Place, Problems
    from harness.benchmark.source import Node

Checked = TypeVar("Checked", bound=BaseModel)

_SHOULD_BE: Final = re.compile(r"(?:Input|[A-Z]\w+) should (?:be |have )?")
_WORDS: Final = {
    "a valid number": "a number",
    "a valid integer": "a whole number",
    "a valid boolean": "true or false",
    "a valid string": "text",
    "a valid array": "a list",
    "a valid tuple": "a list",
    "a valid list": "a list",
    "a valid dictionary": "a mapping",
    "an object": "a mapping",
}
_QUOTED: Final = re.compile(r"'([^']*)'")


class Inherited(NamedTuple):
    """A value that the file does not write out, such as one of a preset."""

    value: Any
    place: Place
    """What to blame for it."""
    source: str
    """Who says so, in the words of a message."""


@dataclass(frozen=True)
class Keys:
    """The keys that a mapping may have, for what is said of an unknown one."""

    names: Collection[str]
    """Which a misspelt one is compared with."""
    noun: str = "key"
    """What messages call a key."""
    hints: Mapping[str, str] = field(default_factory=dict)
    """Where some unknown keys belong."""


@dataclass(frozen=True)
class FilePart:
    """A mapping as it is checked: its values, where each came from, and what to blame for what is missing."""

    key: str
    """Path of the mapping in the file, as ``-o`` would name it; empty for the file itself."""
    place: Place
    values: Mapping[str, Node]
    inherited: Mapping[str, Inherited] = field(default_factory=dict)
    """Values that the file does not write out."""
    groups: Collection[str] = ()
    """Names whose mapping lies over an inherited one key by key, where any other value replaces what is inherited."""

    def path(self, *names: str | int) -> str:
        """Return the path of something in the mapping: ``methods.eso.temperatures[1]``."""
        text = self.key
        for name in names:
            text += f"[{name}]" if isinstance(name, int) else f".{name}" if text else name
        return text

    def at(self, name: str) -> Place:
        """Return the place of a value, else of what it is inherited from, else of the mapping."""
        if name in self.values:
            return self.values[name].place
        return self.inherited[name].place if name in self.inherited else self.place

    def only(self, names: Collection[str]) -> FilePart:
        """Return the part with some of the keys alone."""
        return FilePart(self.key, self.place, {name: node for name, node in self.values.items() if name in names})

    def without(self, names: Collection[str]) -> FilePart:
        """Return the part without some of the keys."""
        return FilePart(self.key, self.place, {name: node for name, node in self.values.items() if name not in names})

    def plain(self) -> dict[str, Any]:
        """Return the values as plain data; what the file writes out is stronger than what is inherited."""
        inherited = {name: one.value for name, one in self.inherited.items()}
        own = {name: node.plain() for name, node in self.values.items()}
        for name in self.groups:
            if isinstance(inherited.get(name), dict) and isinstance(own.get(name), dict):
                own[name] = inherited[name] | own[name]
        return inherited | own


def part_of(node: Node | None, key: str, otherwise: Place, problems: Problems) -> FilePart:
    """Return a mapping of the file as a part; an absent one is empty, and anything else is a mistake."""
    if node is None or node.value is None:
        return FilePart(key, otherwise, {})
    if not node.is_mapping:
        problems.add(node.place, "is wrong", key=key, got=node.plain(), expected="a mapping: key: value")
    return FilePart(key, node.key or node.place, node.items)


def check(model: type[Checked], part: FilePart, problems: Problems, **given: Any) -> Checked | None:
    """Return ``part`` as a ``model``, or None after adding what is wrong with it.

    Types are taken as written (JSON's strict mode): neither ``"5"`` nor ``true`` is a number. ``given`` are values that
    the caller settles.
    """
    text = json.dumps(part.plain() | given, allow_nan=False)
    return attempt(lambda: model.model_validate_json(text, strict=True), part, problems, Keys(model.model_fields))


def attempt(validate: Callable[[], Checked], part: FilePart, problems: Problems, keys: Keys) -> Checked | None:
    """Call ``validate`` and return what it gives, or None after adding every mistake it reports."""
    try:
        return validate()
    except ValidationError as error:
        grouped: dict[tuple[Place, str], list[ErrorDetails]] = {}
        for detail in error.errors(include_url=False):
            if detail["type"] == "too_short" and len(detail["input"]) >= detail["ctx"]["min_length"]:
                continue  # elements that are wrong themselves do not count as absent too
            grouped.setdefault(_find(part, detail), []).append(detail)
        for (place, key), details in grouped.items():
            _add(place, key, details, part, problems, keys)
        return None


def _find(part: FilePart, detail: ErrorDetails) -> tuple[Place, str]:
    """Return place and path of a mistake; what pydantic adds to the path of a union's member is left out."""
    names: list[str | int] = []
    node: Node | None = None
    place = part.place
    values: Mapping[str, Node] | None = part.values
    for name in detail["loc"]:
        if isinstance(name, int) and node is not None and name < len(node.elements):
            node = node.elements[name]
        elif isinstance(name, str) and values and name in values:
            node = values[name]
        elif isinstance(name, str) and not names and name in part.inherited:
            return part.inherited[name].place, part.path(name)
        elif detail["type"] == "missing" and name == detail["loc"][-1]:
            return (node.key or node.place if node else place), part.path(*names, name)
        else:
            continue  # the name of a union's member
        names.append(name)
        values = node.items
    if node is not None:
        place = node.key or node.place if detail["type"] == "extra_forbidden" else node.place
    return place, part.path(*names)


def _add(place: Place, key: str, details: list[ErrorDetails], part: FilePart, problems: Problems, keys: Keys) -> None:
    detail = details[0]
    top = str(detail["loc"][0]) if detail["loc"] else ""
    inherited_from = _inherited_from(part, top)
    if detail["type"] == "extra_forbidden":
        problems.add(place, f"unknown {keys.noun}", key=key, **_other_names(detail["loc"], keys))
    elif detail["type"] == "missing":
        problems.add(place, "is missing", key=key)
    elif detail["type"] in {"value_error", "assertion_error"}:
        said = str(detail.get("ctx", {}).get("error", detail["msg"]))
        got = {} if isinstance(detail["input"], (dict, list)) else {"got": detail["input"]}
        problems.add(place, said, key=key, hint=inherited_from, **got)
    else:
        expected = _expected(details)
        near = suggest(str(detail["input"]), _QUOTED.findall(expected))
        got = detail["input"]
        problems.add(place, "is wrong", key=key, got=got, expected=expected, did_you_mean=near, hint=inherited_from)


def _inherited_from(part: FilePart, name: str) -> str | None:
    return f"{part.inherited[name].source} says so" if name in part.inherited and name not in part.values else None


def _other_names(loc: tuple[int | str, ...], keys: Keys) -> dict[str, str | None]:
    """Return what a message says beside an unknown key: which keys there are, which one is near, where it belongs."""
    names, hints, noun = keys.names, keys.hints, keys.noun
    top, given = str(loc[0]), str(loc[-1])
    if len(loc) == 1:
        # a key within a group, written without the group's name, is known by its own
        choices = {name.rpartition(".")[2]: name for name in names} | {name: name for name in names if "." not in name}
        listed = [name for name in names if "." not in name]
        group, _, own = (given if given in names else choices.get(given, "")).rpartition(".")
        where = f"write {group}: {{{own}: …}}, or {group}.{own} in a sweep and after -o"
        hint = f"{own} is under {group}: {where}" if group else hints.get(given)
    else:
        choices = {name.removeprefix(f"{top}."): name for name in names if name.startswith(f"{top}.")}
        listed = list(choices)
        if len(loc) > 2 or not choices:  # the keys of a deeper mapping are not known here
            return {}
        group = ""
        hint = f"{given} does not belong under {top}: write it beside {top}" if given in names else None
    near = None if hint and (group or len(loc) > 1) else suggest(given, choices)
    expected = None if near or group or len(listed) > 12 else f"one of {', '.join(sorted(listed))}"
    expected = f"no {noun.partition(' ')[0]}s at all" if not names else expected
    return {"expected": expected, "did_you_mean": near and (choices[near] if len(loc) == 1 else near), "hint": hint}


def _expected(details: list[ErrorDetails]) -> str:
    """Return what pydantic wanted, in the words of a YAML file, without repeating itself."""
    texts = [_SHOULD_BE.sub("", detail["msg"], count=1).replace(" after validation", "") for detail in details]
    texts = [f"a number {text}" if text.startswith(("greater", "less")) else _WORDS.get(text, text) for text in texts]
    texts = [text.replace("match pattern", "text that matches") for text in texts]
    return ", or ".join(dict.fromkeys(texts))


def label_mistake(label: str) -> str | None:
    """Return why ``label`` cannot name a row, or None. Labels appear in tables, messages and file names."""
    if not label or label != label.strip():
        return "is empty or has blanks around it"
    if len(label) > 100:
        return "is longer than 100 characters"
    if not label.isprintable():
        return "holds a character that cannot be printed"
    if "/" in label or "\\" in label or label in {".", ".."}:
        return "looks like a path"
    return None


def check_label(node: Node, key: str, problems: Problems) -> None:
    """Add what is wrong with a label."""
    mistake = label_mistake(node.value) if isinstance(node.value, str) else "is not a text"
    if mistake:
        expected = "printable text without / and \\"
        problems.add(node.place, mistake, key=key, got=node.plain(), expected=expected)
