"""One entry of ``methods`` with a ``sweep`` becomes one entry a combination."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from harness.benchmark.source import Node

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.benchmark.problems import Problems

#: More rows than any table holds.
MAX_ENTRIES: Final = 500
#: Keys of an entry that are swept key by key alone.
_BELOW: Final = ("recipe", "reward_weights")


def entry_label(entry: Node) -> str | None:
    """Return the label of an entry of ``methods``: its ``label``, else the method's name."""
    named = entry.items.get("label", entry.items.get("use", entry))
    return named.value if isinstance(named.value, str) else None


def expand(entry: Node, key: str, problems: Problems) -> list[Node]:
    """Return the entries that ``entry`` means, each with its own label: ``eso[coef=0.1]``.

    A key of ``sweep`` is an option of the method, one within a group of options (``compat.NAME``), ``recipe.NAME`` or
    ``reward_weights.PART``. Mistakes are added to ``problems``, and the entry is then returned without the sweep.
    """
    sweep = entry.items.get("sweep")
    if sweep is None:
        return [entry]
    rest = replace(entry, value={name: child for name, child in entry.items.items() if name != "sweep"})
    before = problems.met
    _check(rest, sweep, f"{key}.sweep", problems)
    label = entry_label(rest)
    if problems.met > before or label is None:
        return [rest]
    names = list(sweep.items)
    return [
        _with(rest, label, dict(zip(names, values, strict=True)))
        for values in itertools.product(*(sweep.items[name].elements for name in names))
    ]


def _check(rest: Node, sweep: Node, key: str, problems: Problems) -> None:
    if not sweep.is_mapping or not sweep.items:
        problems.add(sweep.place, "is wrong", key=key, got=sweep.plain(), expected="option: [value, value, …]")
        return
    count = 1
    for name, values in sweep.items.items():
        at, path = values.place, f"{key}.{name}"
        if not values.is_list or not values.elements:
            problems.add(at, "is wrong", key=path, got=values.plain(), expected="a list of values, one a row")
        whole = next((other for other in sweep.items if name.startswith(f"{other}.")), None)
        if whole is not None:
            problems.add(values.key or at, f"{whole} is swept as a whole too", key=path)
        above, below = within(name)
        holder = rest.items.get(above, Node({}, at)) if above else rest
        if not holder.is_mapping:
            what, expected = f"{above} of the entry is no place for {below}", "a mapping: key: value"
            problems.add(holder.place, what, key=path, got=holder.plain(), expected=expected)
        if below in holder.items and name not in {"use", "label"}:
            own = holder.items[below].place
            blamed = (values.key or at) if own.line else own  # line 0: given by -o, after the sweep
            what = f"{name} is both in the sweep and in the entry"
            problems.add(blamed, what, key=path, hint=f"to override a sweep: -o methods.LABEL.sweep.{name}=[…]")
        if name in {"use", "label", "preset", "sweep", "start", "active", *_BELOW}:
            expected = "an option of the method, GROUP.OPTION, recipe.NAME or reward_weights.PART"
            problems.add(values.key or at, "cannot be swept", key=path, expected=expected)
        count *= max(1, len(values.elements))
    if count > MAX_ENTRIES:
        problems.add(sweep.place, f"gives {count:,} rows", key=key, expected=f"at most {MAX_ENTRIES}")


def overlap(one: str, other: str) -> bool:
    """Tell whether two swept keys are the same, or one of them is a group that holds the other."""
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")


def within(name: str) -> tuple[str, str]:
    """Return the mapping of an entry that a swept key lies in, empty for the entry itself, and the key there."""
    above, _, below = name.partition(".")
    return (above, below) if below else ("", name)


def _with(rest: Node, label: str, values: dict[str, Node]) -> Node:
    items = dict(rest.items)
    # the label is blamed on the swept values: they are what makes it wrong or a duplicate
    place = next(iter(values.values())).place
    items["label"] = Node(f"{label}[{','.join(_said(values))}]", place, place)
    for name, node in values.items():
        items = place_value(items, name, node)
    return replace(rest, value=items)


def place_value(items: dict[str, Node], name: str, node: Node) -> dict[str, Node]:
    """Return an entry's items with a value set, named as a sweep names it."""
    above, below = within(name)
    if not above:
        return {**items, name: node}
    holder = items.get(above, Node({}, node.place))
    return {**items, above: replace(holder, value={**holder.items, below: node})}


def _said(values: dict[str, Node]) -> Iterator[str]:
    """Yield ``name=value``, without the mapping that the name lies in unless two names would be the same."""
    below = [within(name)[1] for name in values]
    for short, (long, node) in zip(below, values.items(), strict=True):
        name = short if below.count(short) == 1 else long
        if isinstance(node.value, str):
            yield f"{name}={node.value}"
        else:
            yield f"{name}={json.dumps(node.plain(), ensure_ascii=False, separators=(',', ':'))}"
