"""Intervals hold what they promise, whatever carries the variance."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.report import statistics
from harness.report.statistics import Array, Interval, interval, mean, seeds_interval

RUNS = 250


def draw(generator: np.random.Generator, shape: tuple[int, int], seeds: float, prompts: float, noise: float) -> Array:
    """Draw scores whose true mean is 0, from the spread of seeds, of prompts and of what is left."""
    count, examples = shape
    between = seeds * generator.normal(size=(count, 1)) + prompts * generator.normal(size=(1, examples))
    return between + noise * generator.normal(size=shape)


def coverage(shape: tuple[int, int], spread: tuple[float, float, float]) -> float:
    generator = np.random.default_rng([7, *shape, *(int(100 * part) for part in spread)])
    hits = 0
    for _ in range(RUNS):
        found = interval(draw(generator, shape, *spread))
        assert found is not None
        hits += found.low <= 0 <= found.high
    return hits / RUNS


PROMPTS, MIXED, SEEDS = (0.02, 1.0, 1.0), (0.1, 1.0, 0.5), (1.0, 0.3, 0.3)


@pytest.mark.parametrize(
    ("seeds", "spread", "least"),
    [
        # two seeds that carry everything: Satterthwaite's v is itself estimated from one degree of freedom
        (2, PROMPTS, 0.92), (2, MIXED, 0.9), (2, SEEDS, 0.84),
        (3, PROMPTS, 0.92), (3, MIXED, 0.9), (3, SEEDS, 0.88),
        (5, PROMPTS, 0.92), (5, MIXED, 0.91), (5, SEEDS, 0.9),
    ],
)  # fmt: skip
def test_the_crossed_bootstrap_covers(seeds: int, spread: tuple[float, float, float], least: float) -> None:
    assert least <= coverage((seeds, 60), spread) <= 0.995


@pytest.mark.parametrize(("seeds", "most"), [(2, 0.7), (3, 0.82)])
def test_without_widening_it_would_not(seeds: int, most: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "_freedom", lambda _: math.inf)
    assert coverage((seeds, 60), SEEDS) < most


def test_one_seed_covers_the_mean_of_that_seed() -> None:
    assert 0.9 <= coverage((1, 60), (0.0, 1.0, 0.5)) <= 0.98


def test_the_width_is_that_of_the_normal_interval_where_examples_carry_the_variance() -> None:
    values = np.repeat(np.random.default_rng(1).normal(size=(1, 2000)), 3, axis=0)
    found = interval(values)
    assert found is not None
    assert found.high - found.low == pytest.approx(2 * 1.96 * values[0].std() / 2000**0.5, rel=0.06)


def test_the_degrees_of_freedom_are_satterthwaites() -> None:
    values = draw(np.random.default_rng(3), (4, 30), 0.5, 1.0, 0.5)
    between_seeds, between_prompts = 30 * values.mean(1).var(ddof=1), 4 * values.mean(0).var(ddof=1)
    by_hand = (between_seeds + between_prompts) ** 2 / (between_seeds**2 / 3 + between_prompts**2 / 29)
    assert statistics._freedom(values) == pytest.approx(by_hand)
    only_seeds = np.repeat(np.arange(4.0)[:, None], 30, axis=1)
    assert statistics._freedom(only_seeds) == pytest.approx(3)
    assert statistics._freedom(only_seeds.T) == pytest.approx(3)


def test_an_interval_leans_where_the_values_do() -> None:
    values = np.exp(2 * np.random.default_rng(4).normal(size=(1, 40)))
    found = interval(values)
    assert found is not None
    assert found.high - found.mean > 1.1 * (found.mean - found.low)
    assert found.reach == found.high - found.mean
    mirrored = interval(-values)
    assert mirrored is not None
    assert mirrored.reach == pytest.approx(found.reach)


def test_equal_values_leave_no_doubt() -> None:
    assert interval(np.full((3, 5), 0.25)) == Interval(0.25, 0.25, 0.25)
    assert interval(np.zeros((1, 5))) == Interval(0.0, 0.0, 0.0)


def test_a_single_value_has_no_interval() -> None:
    found = interval(np.array([[0.5]]))
    assert found is not None
    assert found.mean == 0.5
    assert not found.known
    missing = interval(np.array([[math.nan, 0.5], [math.nan, math.nan]]))
    assert missing is not None
    assert not missing.known


def test_nothing_present_is_nothing() -> None:
    assert interval(np.full((2, 3), math.nan)) is None
    assert interval(np.zeros((0, 3))) is None
    assert mean(np.full(3, math.nan)) is None
    assert seeds_interval(np.full(3, math.nan)) is None


def test_missing_entries_are_left_out() -> None:
    whole = draw(np.random.default_rng(5), (3, 20), 0.2, 1.0, 0.5)
    padded = np.full((5, 24), math.nan)
    padded[1:4, 2:22] = whole
    assert interval(padded) == interval(whole)
    holes = whole.copy()
    holes[0, 3] = holes[2, 7] = math.nan
    found = interval(holes)
    assert found is not None
    assert found.mean == pytest.approx(np.nanmean(holes))
    assert found.low < found.mean < found.high


@given(st.permutations(range(3)), st.floats(-3, 3), st.floats(0.1, 9))
def test_seeds_have_no_order_and_units_no_meaning(order: list[int], shift: float, scale: float) -> None:
    values = draw(np.random.default_rng(6), (3, 15), 0.5, 1.0, 0.5)
    plain, changed = interval(values), interval(values[order] * scale + shift)
    assert plain is not None
    assert changed is not None
    assert changed.mean == pytest.approx(plain.mean * scale + shift)
    width = (plain.high - plain.low) * scale
    # the replicates fall on other seeds: within the bootstrap's own error
    assert changed.high - changed.low == pytest.approx(width, rel=0.08)


def test_two_calls_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    values = draw(np.random.default_rng(8), (2, 30), 0.5, 1.0, 0.5)
    first = interval(values)
    statistics.replicates.cache_clear()
    np.random.default_rng().normal()
    assert interval(values) == first


def test_numbers_of_whole_seeds_have_students_interval() -> None:
    values = np.array([1.0, 1.5, 3.0, math.nan])
    found = seeds_interval(values)
    low, high = stats.t.interval(0.95, 2, loc=values[:3].mean(), scale=stats.sem(values[:3]))
    assert found is not None
    assert (found.low, found.high) == pytest.approx((low, high))
    two = seeds_interval(values[:2])
    assert two is not None
    assert (two.mean, two.known) == (1.25, False)
