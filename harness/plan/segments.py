"""A run's schedule: which method trains from where to where, and on which learning-rate curve.

Positions are counted from the first step of the shared schedule; they become step numbers when the rows are known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from harness.errors import InputError
from harness.spec.schedule import Curve, Position

if TYPE_CHECKING:
    from harness.spec.benchmark import MethodEntry
    from harness.spec.budget import Budget
    from harness.spec.recipe import Recipe

_BEGIN = Position(epochs=0)

_CurveKind: TypeAlias = Literal["cosine", "linear", "constant"]


@dataclass(frozen=True)
class Segment:
    """One training stage's share of a schedule."""

    active: bool
    """Whether the row's own method trains it; the shared supervised method otherwise."""
    first: Position
    last: Position
    """The segment ends before this position."""
    curve: Curve
    """With a second curve only where the segment may reach over the switch."""
    fresh: bool = False
    """Whether optimiser moments start from zero."""
    budget: Budget | None = None
    """What ends it instead of ``last``, which is ``first`` then."""


def supervised_segments(recipe: Recipe) -> tuple[Segment, ...]:
    """Return the stages of the row of the shared method: cut where methods branch off, so that they share the first."""
    cut = _cut(recipe)
    if recipe.budget is not None:
        ends = recipe.budget.unit != "sampled_tokens"  # a supervised row draws none
        own = (_budgeted(recipe, recipe.budget, cut),) if ends else ()
        return _join(recipe, [(True, _BEGIN, cut)]) + own
    return _join(recipe, [(True, _BEGIN, cut), (True, cut, _end(recipe))])


def method_segments(entry: MethodEntry, shared: Recipe) -> tuple[Segment, ...]:
    """Return the stages that a method's row has for itself.

    ``start: branch`` cuts one schedule where the method becomes active; weights, moments, data order and (under
    ``continue``) the learning rate go on over the cut. The learning rate is the same function of the step in every row
    of a recipe, whenever its method is active. ``start: after`` gives the method a fresh optimiser and a schedule of
    its own behind the whole supervised schedule, whose stages are those of the shared method's row (``shared`` is that
    row's recipe) and are not returned. Under a budget both begin behind the ``epochs`` of the shared start, on a
    schedule of their own; ``after`` says that the start is the shared row's, whatever the entry's recipe says of its
    own, and that the optimiser is fresh.

    Raises:
        InputError: a method that would never be active.
    """
    recipe = entry.recipe
    if recipe.budget is not None:
        if entry.start == "after":
            return (_budgeted(recipe, recipe.budget, end_of_start(shared), fresh=True),)
        return (*_join(recipe, [(False, _BEGIN, _cut(recipe))]), _budgeted(recipe, recipe.budget, _cut(recipe)))
    if entry.start == "after":
        first = _end(shared)
        last = _behind(first, recipe.method_epochs, recipe.max_steps)
        return (Segment(active=True, first=first, last=last, curve=_own(recipe, first, last), fresh=True),)
    cut, end = _cut(recipe), _end(recipe)
    if entry.active in {"all", 0}:
        return _join(recipe, [(True, _BEGIN, end)])
    if entry.active == "all_but_last":
        if cut == _BEGIN:
            raise InputError(
                "the method would never be active",
                where=f"methods.{entry.label}.active",
                got=entry.active,
                expected=f"method_epochs below epochs, which are {recipe.epochs}",
            )
        return _join(recipe, [(True, _BEGIN, cut), (False, cut, end)])
    begin = Position(steps=entry.active) if isinstance(entry.active, int) else cut
    return _join(recipe, [(False, _BEGIN, begin), (True, begin, end)])


def end_of_start(shared: Recipe) -> Position:
    """Return where ``start: after`` begins: behind the shared row, or behind its ``epochs`` where that has a budget."""
    return _cut(shared) if shared.budget is not None else _end(shared)


def _budgeted(recipe: Recipe, budget: Budget, first: Position, *, fresh: bool = False) -> Segment:
    """Return the segment that a budget ends."""
    return Segment(active=True, first=first, last=first, curve=_own(recipe, first, first), fresh=fresh, budget=budget)


def _end(recipe: Recipe) -> Position:
    cut = _cut_epoch(recipe)
    return _behind(_cut(recipe), recipe.epochs - cut, recipe.max_steps)


def _behind(start: Position, epochs: int, steps: int | None) -> Position:
    """Return the position so many epochs behind another, or so many steps if they are fewer."""
    if steps is None and start.epoch is not None:
        return Position(epochs=start.epoch + epochs)
    return Position(behind=start, epochs=epochs, steps=steps)


def _cut_epoch(recipe: Recipe) -> int:
    """Return the epoch in which the method epochs, or the budget, begin; 0 where there are no others."""
    return recipe.epochs if recipe.budget is not None else max(0, recipe.epochs - recipe.method_epochs)


def _cut(recipe: Recipe) -> Position:
    return Position(epochs=_cut_epoch(recipe))


def _join(recipe: Recipe, parts: list[tuple[bool, Position, Position]]) -> tuple[Segment, ...]:
    """Give every part that has steps its curve."""
    return tuple(
        Segment(active=active, first=first, last=last, curve=_part(recipe, first, last))
        for active, first, last in parts
        if first != last
    )


def _part(recipe: Recipe, first: Position, last: Position) -> Curve:
    """Return the curve of a part of one schedule.

    A part that lies on one side of the cut needs that side alone; which side a step number lies on is not known before
    the rows are.
    """
    cut, end = _cut(recipe), _end(recipe)
    if recipe.budget is not None:
        return _whole(recipe, recipe.learning_rate, cut)
    if recipe.method_schedule == "continue":
        before = _whole(recipe, recipe.learning_rate, end)
        behind = _whole(recipe, _peak(recipe), end)
    else:
        before = _whole(recipe, recipe.learning_rate, cut)
        behind = _own(recipe, cut, end)
    ends = recipe.epochs if last.epoch is None else last.epoch
    if before == behind or ends <= _cut_epoch(recipe):
        return before
    if (first.epoch or 0) >= _cut_epoch(recipe):
        return behind
    return before.model_copy(update={"switch": cut, "then": behind})


def _peak(recipe: Recipe) -> float:
    """Return the peak rate of the method epochs."""
    return recipe.learning_rate if recipe.method_learning_rate is None else recipe.method_learning_rate


def _whole(recipe: Recipe, peak: float, last: Position) -> Curve:
    return _curve(recipe, recipe.schedule, peak, recipe.warmup_steps, _BEGIN, last)


def _own(recipe: Recipe, first: Position, last: Position) -> Curve:
    return _curve(recipe, recipe.restart_schedule, _peak(recipe), recipe.method_warmup_steps, first, last)


def _curve(recipe: Recipe, kind: _CurveKind, peak: float, warmup: int, first: Position, last: Position) -> Curve:
    floor = recipe.min_learning_rate
    return Curve(kind=kind, peak=peak, floor=floor, warmup_steps=warmup, first=first, last=last)
