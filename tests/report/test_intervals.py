"""Parts of intervals: degrees of freedom, widening, replicates, and numbers of whole seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from harness.report import statistics
from harness.report.statistics import Array, Interval, mean, replicates, seeds_interval, widening


def draw(generator: np.random.Generator, shape: tuple[int, int], seeds: float, prompts: float, noise: float) -> Array:
    """Draw scores whose true mean is 0, from the spread of seeds, of prompts and of what is left."""
    count, examples = shape
    between = seeds * generator.normal(size=(count, 1)) + prompts * generator.normal(size=(1, examples))
    return between + noise * generator.normal(size=shape)


def test_the_degrees_of_freedom_are_satterthwaites() -> None:
    values = draw(np.random.default_rng(3), (4, 30), 0.5, 1.0, 0.5)
    between_seeds, between_prompts = 30 * values.mean(1).var(ddof=1), 4 * values.mean(0).var(ddof=1)
    by_hand = (between_seeds + between_prompts) ** 2 / (between_seeds**2 / 3 + between_prompts**2 / 29)
    assert statistics._freedom(values) == pytest.approx(by_hand)
    only_seeds = np.repeat(np.arange(4.0)[:, None], 30, axis=1)
    assert statistics._freedom(only_seeds) == pytest.approx(3)
    assert statistics._freedom(only_seeds.T) == pytest.approx(3)


def test_the_widening_is_students_where_seeds_carry_the_variance_and_none_where_prompts_do() -> None:
    only_seeds = np.repeat(np.arange(4.0)[:, None], 30, axis=1)
    assert widening(only_seeds) == pytest.approx(stats.t.ppf(0.975, 3) / stats.norm.ppf(0.975))
    only_prompts = np.repeat(np.random.default_rng(1).normal(size=(1, 2000)), 3, axis=0)
    assert widening(only_prompts) == pytest.approx(1.0, abs=1e-3)
    assert widening(np.array([[0.5]])) == 1.0


def test_the_widening_leaves_out_what_is_missing() -> None:
    whole = draw(np.random.default_rng(5), (3, 20), 0.2, 1.0, 0.5)
    padded = np.full((5, 24), math.nan)
    padded[1:4, 2:22] = whole
    assert widening(padded) == widening(whole)


def test_an_interval_reaches_to_its_further_end() -> None:
    assert Interval(1.0, 0.5, 3.0).reach == 2.0
    assert Interval(1.0, 0.0, 1.5).reach == 1.0
    assert not Interval(0.5, math.nan, math.nan).known


def test_nothing_present_is_nothing() -> None:
    assert mean(np.full(3, math.nan)) is None
    assert seeds_interval(np.full(3, math.nan)) is None


def test_replicates_are_the_same_in_every_process() -> None:
    first = replicates(3, 30)
    replicates.cache_clear()
    np.random.default_rng().normal()
    again = replicates(3, 30)
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
    assert [(part.sum(1) == size).all() for part, size in zip(first, (3, 30), strict=True)] == [True, True]


def test_numbers_of_whole_seeds_have_students_interval() -> None:
    values = np.array([1.0, 1.5, 3.0, math.nan])
    found = seeds_interval(values)
    low, high = stats.t.interval(0.95, 2, loc=values[:3].mean(), scale=stats.sem(values[:3]))
    assert found is not None
    assert (found.low, found.high) == pytest.approx((low, high))
    two = seeds_interval(values[:2])
    assert two is not None
    assert (two.mean, two.known) == (1.25, False)
