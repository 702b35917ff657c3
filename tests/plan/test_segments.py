"""A row's schedule: who trains which steps, at which learning rates, and which stages rows share."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import InputError
from harness.plan.segments import method_segments, supervised_segments
from harness.spec.benchmark import MethodEntry
from harness.spec.recipe import Recipe
from harness.spec.schedule import Position
from harness.training.schedule import LearningRate

if TYPE_CHECKING:
    from harness.plan.segments import Segment

EACH = 10
"""Steps an epoch."""

ACTIVE = ("last", "all", "all_but_last", 0, 1, 17, 30, 35, 49)


def entry(recipe: Recipe, active: Any = "last", start: Any = "branch") -> MethodEntry:
    return MethodEntry(use="m", label="m", recipe=recipe, active=active, start=start)


def spans(segments: tuple[Segment, ...]) -> list[tuple[int, int]]:
    return [(s.first.step(EACH), s.last.step(EACH)) for s in segments]


def rates(segments: tuple[Segment, ...]) -> list[float]:
    return [
        LearningRate.of(segment.curve, EACH).rate(step)
        for segment, (first, last) in zip(segments, spans(segments), strict=True)
        for step in range(first, last)
    ]


@pytest.mark.parametrize("schedule", ["continue", "restart"])
@pytest.mark.parametrize("method_rate", [None, 3e-5, 4e-4])
@pytest.mark.parametrize("method_epochs", [1, 2, 5])
@pytest.mark.parametrize("active", ACTIVE)
def test_every_row_of_a_recipe_takes_the_same_steps_at_the_same_rates(
    active: Any, method_epochs: int, method_rate: float | None, schedule: Any
) -> None:
    recipe = Recipe(
        epochs=5, method_epochs=method_epochs, method_schedule=schedule, method_learning_rate=method_rate,
        warmup_steps=3, min_learning_rate=1e-6,
    )  # fmt: skip
    if active == "all_but_last" and method_epochs == 5:
        with pytest.raises(InputError):
            method_segments(entry(recipe, active), recipe)
        return
    segments = method_segments(entry(recipe, active), recipe)
    ends = spans(segments)
    assert ends[0][0] == 0
    assert ends[-1][1] == 5 * EACH
    assert all(before[1] == after[0] for before, after in itertools.pairwise(ends))
    assert all(first < last for first, last in ends)
    assert rates(segments) == rates(supervised_segments(recipe))


@pytest.mark.parametrize(
    ("active", "expected"),
    [
        ("last", range(30, 50)),
        ("all", range(50)),
        ("all_but_last", range(30)),
        (0, range(50)),
        (12, range(12, 50)),
        (41, range(41, 50)),
    ],
)
@pytest.mark.parametrize("schedule", ["continue", "restart"])
def test_the_method_is_active_in_the_steps_that_were_asked_for(active: Any, expected: range, schedule: Any) -> None:
    recipe = Recipe(epochs=5, method_epochs=2, method_schedule=schedule)
    segments = method_segments(entry(recipe, active), recipe)
    found = [
        step
        for segment, (first, last) in zip(segments, spans(segments), strict=True)
        for step in range(first, last)
        if segment.active
    ]
    assert found == list(expected)


def test_continue_is_one_curve_over_all_epochs() -> None:
    recipe = Recipe(epochs=5, learning_rate=1e-3)
    expected = [1e-3 * (1 + math.cos(math.pi * step / 50)) / 2 for step in range(50)]
    assert rates(supervised_segments(recipe)) == pytest.approx(expected, rel=1e-12)


def test_a_rate_for_the_method_epochs_scales_the_rest_of_the_curve() -> None:
    usual, other = Recipe(epochs=5), Recipe(epochs=5, method_learning_rate=4e-4)
    before, after = rates(supervised_segments(usual)), rates(supervised_segments(other))
    assert after[:40] == before[:40]
    assert after[40:] == pytest.approx([4 * rate for rate in before[40:]], rel=1e-12)


def test_restart_begins_at_its_own_peak_and_falls_to_the_floor() -> None:
    recipe = Recipe(epochs=5, method_schedule="restart", method_learning_rate=6e-4, restart_schedule="linear")
    found = rates(supervised_segments(recipe))
    assert found[:40] == pytest.approx(
        [1e-4 * (1 + math.cos(math.pi * step / 40)) / 2 for step in range(40)], rel=1e-12
    )
    assert found[40:] == pytest.approx([6e-4 * (1 - step / 10) for step in range(10)], rel=1e-12)


def test_after_has_a_fresh_optimiser_and_a_schedule_of_its_own_behind_the_supervised_one() -> None:
    shared = Recipe(epochs=4)
    own = Recipe(epochs=1, method_epochs=2, learning_rate=5e-5, batch_size=4)
    (segment,) = method_segments(entry(own, start="after"), shared)
    assert (segment.active, segment.fresh) == (True, True)
    assert (segment.first, segment.last) == (Position(epochs=4), Position(epochs=6))
    assert rates((segment,))[0] == 5e-5
    assert rates((segment,)) == sorted(rates((segment,)), reverse=True)


@pytest.mark.parametrize("schedule", ["continue", "restart"])
def test_max_steps_ends_the_method_epochs_and_their_schedule(schedule: Any) -> None:
    recipe = Recipe(epochs=5, method_epochs=2, max_steps=12, method_schedule=schedule)
    for active, expected in [("last", 30), ("all", 0), (12, 12)]:
        segments = method_segments(entry(recipe, active), recipe)
        assert (spans(segments)[-1], segments[-1].active) == ((expected, 42), True)
        assert rates(segments) == rates(supervised_segments(recipe))
    assert 0 < rates(supervised_segments(recipe))[-1] < recipe.learning_rate / 10
    assert spans(supervised_segments(recipe)) == [(0, 30), (30, 42)]


def test_max_steps_cuts_nothing_that_is_shorter() -> None:
    recipe = Recipe(epochs=5, max_steps=11)
    assert rates(supervised_segments(recipe)) == rates(supervised_segments(Recipe(epochs=5)))


@pytest.mark.parametrize(("own", "expected"), [(None, (37, 57)), (5, (37, 42)), (25, (37, 57))])
def test_after_counts_its_steps_from_where_the_cut_start_ends(own: int | None, expected: tuple[int, int]) -> None:
    shared = Recipe(epochs=4, max_steps=7)
    (segment,) = method_segments(entry(Recipe(method_epochs=2, max_steps=own), start="after"), shared)
    assert spans((segment,)) == [expected]
    assert rates((segment,))[0] == 1e-4
    assert segment.last.whole_epochs == 6


def test_only_after_forgets_the_moments() -> None:
    recipe = Recipe(epochs=5, method_schedule="restart")
    every = [method_segments(entry(recipe, active), recipe) for active in ACTIVE] + [supervised_segments(recipe)]
    assert not any(segment.fresh for segments in every for segment in segments)


def test_methods_branch_off_the_segment_that_the_supervised_row_has_first() -> None:
    for schedule in ("continue", "restart"):
        recipe = Recipe(epochs=5, method_epochs=2, method_schedule=schedule, method_learning_rate=1e-5)
        first, _ = supervised_segments(recipe)
        shared, own = method_segments(entry(recipe), recipe)
        assert (shared.first, shared.last, shared.curve) == (first.first, first.last, first.curve)
        assert (shared.active, own.active) == (False, True)


def test_a_method_that_would_never_be_active_is_refused() -> None:
    recipe = Recipe(epochs=2, method_epochs=2)
    with pytest.raises(InputError, match=r"methods\.m\.active: the method would never be active"):
        method_segments(entry(recipe, "all_but_last"), recipe)
