"""A run's schedule: which method trains from where to where, and on which learning-rate curve.

Positions are ``{"epoch": e}`` or ``{"step": s}``, counted from the first step of the shared schedule; they become step
numbers when the rows are known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.benchmark.schema import MethodEntry, Recipe


@dataclass(frozen=True)
class Segment:
    """One training stage's share of a schedule."""

    active: bool
    """Whether the row's own method trains it; the shared supervised method otherwise."""
    first: dict[str, int]
    last: dict[str, int]
    """The segment ends before this position."""
    curve: dict[str, Any]
    """``kind``, ``peak``, ``floor``, ``warmup_steps`` and the positions ``first`` and ``last`` that the curve spans."""
    fresh: bool = False
    """Whether optimiser moments start from zero."""


def segments(entry: MethodEntry, *, supervised: bool) -> tuple[Segment, ...]:
    """Return the stages of one row.

    ``start: branch`` cuts one schedule where the method becomes active; weights, moments, data order and (under
    ``continue``) the learning rate go on over the cut. ``start: after`` trains the whole supervised schedule first and
    then gives the method a fresh optimiser and a schedule of its own. ``supervised`` is the row of the shared method
    itself: the same cuts and the same curves, so that every row has taken the same steps.
    """
    recipe = entry.recipe
    end = {"epoch": recipe.epochs}
    if entry.start == "after":
        if supervised:
            return (Segment(active=True, first={"epoch": 0}, last=end, curve=_whole(recipe, end)),)
        own_end = {"epoch": recipe.epochs + recipe.method_epochs}
        return (
            Segment(active=False, first={"epoch": 0}, last=end, curve=_whole(recipe, end)),
            Segment(active=True, first=end, last=own_end, curve=_own(recipe, end, own_end), fresh=True),
        )
    cut = {"epoch": recipe.epochs - recipe.method_epochs}
    if entry.active == "all":
        return _join(recipe, [(True, {"epoch": 0}, end)], cut)
    if entry.active == "all_but_last":
        return _join(recipe, [(True, {"epoch": 0}, cut), (False, cut, end)], cut)
    if isinstance(entry.active, int):
        begin = {"step": entry.active}
        return _join(recipe, [(False, {"epoch": 0}, begin), (True, begin, end)], cut)
    return _join(recipe, [(False, {"epoch": 0}, cut), (True, cut, end)], cut)


def _join(
    recipe: Recipe, parts: list[tuple[bool, dict[str, int], dict[str, int]]], cut: dict[str, int]
) -> tuple[Segment, ...]:
    """Give every part its curve; under ``restart`` a part that crosses the cut is divided there."""
    end = {"epoch": recipe.epochs}
    if recipe.method_schedule == "continue":
        curve = _whole(recipe, end)
        made = [Segment(active=active, first=first, last=last, curve=curve) for active, first, last in parts]
    else:
        made = []
        for active, first, last in parts:
            crosses = first != cut and last == end and first.get("epoch", 0) < cut["epoch"]
            if crosses and "epoch" in first:
                made += [
                    Segment(active=active, first=first, last=cut, curve=_whole(recipe, cut)),
                    Segment(active=active, first=cut, last=last, curve=_own(recipe, cut, end)),
                ]
            else:
                curve = _own(recipe, first, end) if last == end else _whole(recipe, last)
                made.append(Segment(active=active, first=first, last=last, curve=curve))
    return tuple(segment for segment in made if segment.first != segment.last)


def _whole(recipe: Recipe, last: dict[str, int]) -> dict[str, Any]:
    return _curve(recipe, recipe.schedule, recipe.learning_rate, recipe.warmup_steps, {"epoch": 0}, last)


def _own(recipe: Recipe, first: dict[str, int], last: dict[str, int]) -> dict[str, Any]:
    peak = recipe.learning_rate if recipe.method_learning_rate is None else recipe.method_learning_rate
    return _curve(recipe, recipe.restart_schedule, peak, 0, first, last)


def _curve(
    recipe: Recipe, kind: str, peak: float, warmup: int, first: dict[str, int], last: dict[str, int]
) -> dict[str, Any]:
    return {
        "kind": kind,
        "peak": peak,
        "floor": recipe.min_learning_rate,
        "warmup_steps": warmup,
        "first": first,
        "last": last,
    }
