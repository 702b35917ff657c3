"""Metrics that compare with other rows: the rows must be the file's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.api.registration import MethodRegistration
from harness.errors import suggest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.benchmark.context import Context
    from harness.benchmark.problems import Place
    from harness.benchmark.source import Node
    from harness.spec.benchmark import MethodEntry, MetricUse


def check_opponents(
    context: Context,
    methods: Sequence[tuple[Node, MethodEntry | None]],
    metrics: Sequence[tuple[Node, MetricUse | None]],
) -> None:
    """Say that a metric compares with a row that the file does not have."""
    rows = ["base", *trained_rows(context, methods)]
    whole = all(entry for _, entry in methods)
    for node, use in metrics:
        if use is None or not whole:  # a row that is wrong itself may be the one that is meant
            continue
        registration = context.resolved(use)
        named = dict.fromkeys((*registration.opponents, *registration.models_of)) if registration else ()
        for label in named:
            if label not in rows:
                place = _where_it_says(node, label)
                near = suggest(label, rows)
                expected = None if near else f"one of {', '.join(rows)}"
                context.problems.add(place, "no row has this label", key=f"metrics.{use.use}", got=label,
                                     expected=expected, did_you_mean=near)  # fmt: skip


def trained_rows(context: Context, methods: Sequence[tuple[Node, MethodEntry | None]]) -> list[str]:
    """Return the labels of all rows but the untrained one."""
    rows = [entry.label for _, entry in methods if entry]
    supervised = [name for name in context.registry.names("method") if _trains_the_start(context, name)]
    if not any(entry.use in supervised for _, entry in methods if entry):
        rows += supervised  # the row of the shared start, which is made up
    return rows


def _trains_the_start(context: Context, name: str) -> bool:
    registration = context.registry.get("method", name)
    return isinstance(registration, MethodRegistration) and registration.supervised


def _where_it_says(node: Node, text: str) -> Place:
    """Return the place of a text somewhere in an entry, else of the entry."""
    waiting = [node]
    while waiting:
        current = waiting.pop()
        if current.value == text and current is not node:
            return current.place
        waiting += [*current.items.values(), *current.elements]
    return node.place
