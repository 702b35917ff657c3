"""What is laid over a benchmark file before it is checked: one of its profiles, then ``-o`` settings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from harness.benchmark.head import check_name
from harness.benchmark.problems import Place, printable
from harness.benchmark.source import MAX_DEPTH, Node, read_text
from harness.benchmark.sweep import entry_label, expand
from harness.errors import InputError, suggest
from harness.spec.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.benchmark.problems import Problems

#: The name of a file's settings as they stand, where it has no profile.
NO_PROFILE: Final = "default"
#: What a profile may not set.
FIXED: Final = frozenset({"benchmark", "profile", "profiles"})
#: Lists whose elements an override names by label, and the key that a bare text means.
_NAMED_LISTS: Final = {
    "methods": "use",
    "metrics": "use",
    "reward.parts": "use",
    "models": "name",
    "evaluate": "dataset",
}
#: Mappings whose keys hold dots.
_FLAT: Final = frozenset({"sources", "tune.options"})
#: Mappings that may be written as a bare text, and the key that it means.
_NAMED: Final = {
    "template": "chat",
    "train": "dataset",
    "validation": "dataset",
    "reward": "use",
    "reward_model": "use",
    "reward_model.train": "dataset",
    "reward_model.test": "dataset",
}


def profile_names(root: Node) -> tuple[str, ...]:
    """Return the names of the profiles of a file, in its order."""
    profiles = root.items.get("profiles")
    return tuple(profiles.items) if profiles else ()


def choose(root: Node, profile: str | None, problems: Problems) -> tuple[Node, str]:
    """Return the file with a profile laid over it, and the profile's name.

    ``profile`` None takes what the file's ``profile:`` says, and without one the file as it is (``default``).
    """
    names, said = profile_names(root), root.items.get("profile")
    place, key = (
        (said.place, "profile") if said and profile is None else (Place(f"--profile {printable(str(profile))}"), "")
    )
    name = profile if profile is not None or said is None else said.value
    profiles = root.items.get("profiles")
    if profiles is not None:
        _check_profiles(profiles, problems)
    rest = replace(root, value={key: child for key, child in root.items.items() if key not in {"profile", "profiles"}})
    if name is None or (name == NO_PROFILE and name not in names):
        return rest, NO_PROFILE
    if not isinstance(name, str) or name not in names:
        expected = f"one of {', '.join(names)}" if names else "no profile: this file has none"
        near = suggest(str(name), names)
        problems.add(place, "no such profile", key=key, got=name, expected=expected, did_you_mean=near)
        return rest, str(name)
    assert profiles is not None
    overlay = profiles.items[name]
    items = {key: child for key, child in overlay.items.items() if key not in FIXED}
    return merge(rest, replace(overlay, value=items)), name


def entry_key(name: str, index: int, node: Node) -> str:
    """Return the path of a list's element as ``-o`` names it (``methods.eso``), or by number where it has no name."""
    names = _names(node, _NAMED_LISTS[name])
    return f"{name}.{names[0]}" if names else f"{name}[{index}]"


def _check_profiles(profiles: Node, problems: Problems) -> None:
    if not profiles.is_mapping:
        problems.add(profiles.place, "is wrong", key="profiles", got=profiles.plain(), expected="name: {settings}")
    for name, overlay in profiles.items.items():
        try:
            check_name(name)
        except ValueError as error:
            problems.add(overlay.key or overlay.place, str(error), key=f"profiles.{name}")
        if not overlay.is_mapping:
            what = "is wrong"
            problems.add(overlay.place, what, key=f"profiles.{name}", got=overlay.plain(), expected="a mapping")
        for key in FIXED & overlay.items.keys():
            place = overlay.items[key].key or overlay.place
            problems.add(place, "cannot be set by a profile", key=f"profiles.{name}.{key}")


def merge(base: Node, over: Node, depth: int = 0) -> Node:
    """Return ``base`` with ``over`` laid on it: mappings are merged, anything else is replaced.

    A plugin entry that names another plugin (``use``, ``dataset``, or ``parts`` of a reward) replaces the whole entry:
    the options of the old one would mean nothing. A key of the recipe that is null is taken away.
    """
    if not (base.is_mapping and over.is_mapping) or (depth == 1 and _other_plugin(base, over)):
        return over
    items = dict(base.items)
    for name, child in over.items.items():
        if name not in items:
            items[name] = child
            continue
        below = items[name]
        if depth == 0 and name in _NAMED:
            below = as_mapping(below, _NAMED[name])
        items[name] = merge(below, child, depth + 1)
        if depth == 0 and name == "recipe" and child.is_mapping:
            items[name] = _without_nulls(items[name], child)
    return replace(base, value=items)


def _without_nulls(recipe: Node, over: Node) -> Node:
    """Return a recipe without its keys that ``over`` makes null: their defaults hold again."""
    gone = {name for name, node in over.items.items() if node.value is None and name in Recipe.model_fields}
    return replace(recipe, value={name: node for name, node in recipe.items.items() if name not in gone})


def _other_plugin(base: Node, over: Node) -> bool:
    for key in ("use", "model", "dataset", "parts"):
        if key in over.items and isinstance(over.items[key].value, (str, tuple)):
            return key not in base.items or (key != "parts" and base.items[key].value != over.items[key].value)
    return False


@dataclass(frozen=True)
class Override:
    """One ``-o PATH=VALUE``."""

    text: str
    path: str
    value: Node

    @property
    def is_source(self) -> bool:
        """Whether it only says where something lies."""
        return self.path.startswith("sources.")


def parse_override(text: str, problems: Problems) -> Override | None:
    """Read ``PATH=VALUE``; VALUE is YAML, but a path on disk (``sources.NAME=…``) is taken as it is."""
    place = Place(f"-o {printable(text)}")
    path, value = _split(text)
    if not path.strip(".") or path != path.strip(".") or value is None:
        problems.add(place, "is not a setting", expected="KEY=VALUE, as in recipe.learning_rate=1e-5")
        return None
    if path.count(".") > MAX_DEPTH:
        problems.add(place, f"is nested more than {MAX_DEPTH} deep")
        return None
    top = path.partition(".")[0]
    if top in {"profile", "profiles"}:
        problems.add(place, "a profile is chosen by --profile", key=path)
        return None
    if path.startswith("sources."):
        return Override(text, path, Node(value, place, place))
    try:
        return Override(text, path, replace(read_text(value, str(place), problems, in_file=False), key=place))
    except InputError as error:
        problems.add(place, error.what, key=path, hint=error.hint)
        return None


def _split(text: str) -> tuple[str, str | None]:
    """Cut at the first ``=`` outside brackets: a row of a sweep is called ``eso[coef=0.1]``."""
    depth = 0
    for index, char in enumerate(text):
        depth += (char == "[") - (char == "]")
        if char == "=" and depth <= 0:
            return text[:index].strip(), text[index + 1 :]
    return text, None


def apply(root: Node, overrides: Iterable[Override], problems: Problems) -> Node:
    """Return the file with the overrides set, in their order.

    ``recipe.NAME`` is set in the file's recipe and in that of every method, so that it beats presets and the entries'
    own recipes. What names one row of a sweep is applied after everything that names the whole entry.
    """
    later: list[Override] = []
    for override in overrides:
        top, _, rest = override.path.partition(".")
        if top == "methods" and rest and "[" in rest and _pick(root.items.get("methods"), rest, "use") is None:
            later.append(override)
            continue
        for path, value in _parts(override):
            root = _put(root, path, value, "", problems)
            if path.startswith("recipe."):
                root = _each_method(root, path, value, problems)
    if later:
        methods = root.items["methods"] if "methods" in root.items else Node((), Place(later[0].text))
        rows = [row for i, entry in enumerate(methods.elements) for row in expand(entry, f"methods[{i}]", problems)]
        root = replace(root, value={**root.items, "methods": replace(methods, value=tuple(rows))})
    for override in later:
        root = _put(root, override.path, override.value, "", problems)
    return root


def _parts(override: Override) -> Iterable[tuple[str, Node]]:
    if override.path == "recipe" and override.value.is_mapping:
        place = override.value.place
        return [(f"recipe.{name}", replace(child, key=place)) for name, child in override.value.items.items()]
    return [(override.path, override.value)]


def _each_method(root: Node, path: str, value: Node, problems: Problems) -> Node:
    methods = root.items.get("methods")
    if methods is None or not methods.is_list:
        return root
    entries = tuple(_put(as_mapping(entry, "use"), path, value, "", problems) for entry in methods.elements)
    return replace(root, value={**root.items, "methods": replace(methods, value=entries)})


def as_mapping(node: Node, key: str) -> Node:
    """Return a bare name as the mapping that it is short for."""
    return replace(node, value={key: replace(node, key=node.place)}) if isinstance(node.value, str) else node


def _put(node: Node | None, path: str, value: Node, trail: str, problems: Problems) -> Node:
    """Return ``node`` with the value at ``path`` below it replaced; ``trail`` is the path so far."""
    if not path:
        return value
    if node is not None and node.is_list:
        return _put_in_list(node, path, value, trail, problems)
    if node is not None and trail in _NAMED:
        node = as_mapping(node, _NAMED[trail])
    if node is None or not node.is_mapping:
        node = Node({}, value.place, value.place)
    name = _longest(path, node.items) if trail not in _FLAT else path
    rest = path[len(name) + 1 :]
    child = _put(node.items.get(name), rest, value, f"{trail}.{name}" if trail else name, problems)
    return replace(node, value={**node.items, name: replace(child, key=child.key or value.place)})


def _put_in_list(node: Node, path: str, value: Node, trail: str, problems: Problems) -> Node:
    key = _NAMED_LISTS.get(trail)
    if key is None:
        problems.add(value.place, "is a list", key=trail, expected=f"all of it, as in -o '{trail}=[…]'")
        return node
    picked = _pick(node, path, key)
    if picked is None:
        names = [known for element in node.elements for known in _names(element, key)]
        sought = path.partition(".")[0]
        what = f"no entry of {trail} has this name"
        expected = f"one of {', '.join(names)}" if names else None
        near = suggest(sought, names)
        problems.add(value.place, what, key=f"{trail}.{path}", got=sought, expected=expected, did_you_mean=near)
        return node
    index, name = picked
    entry = as_mapping(node.elements[index], key)
    changed = _put(entry, path[len(name) + 1 :], value, f"{trail}.{name}", problems)
    return replace(node, value=(*node.elements[:index], changed, *node.elements[index + 1 :]))


def _pick(node: Node | None, path: str, key: str) -> tuple[int, str] | None:
    """Return the element that ``path`` starts with the name of, and that name."""
    named = [(i, name) for i, element in enumerate(node.elements if node else ()) for name in _names(element, key)]
    longest = _longest(path, [name for _, name in named], default="")
    return next(((i, name) for i, name in named if name == longest), None)


def _names(element: Node, key: str) -> list[str]:
    label = entry_label(element) if key == "use" else None
    if label is not None:
        return [label]
    values = [element.items[field].value for field in ("label", key) if field in element.items] or [element.value]
    names = [name for name in values if isinstance(name, str)]
    # a model's label is the last part of its hub name, unless it has another
    return list(dict.fromkeys(part for name in names for part in (name.rpartition("/")[2], name) if part))


def _longest(path: str, names: Iterable[str], default: str | None = None) -> str:
    """Return the longest name that ``path`` starts with (names may hold dots), else its first segment."""
    fitting = [name for name in names if path == name or path.startswith(f"{name}.")]
    if fitting:
        return max(fitting, key=len)
    return path.partition(".")[0] if default is None else default


def recorded(overrides: Sequence[Override]) -> tuple[str, ...]:
    """Return the overrides that are part of what a run was: all but where data and models lie."""
    return tuple(override.text for override in overrides if not override.is_source)
