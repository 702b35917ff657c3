"""The forms of Gao et al.: recovered from generated data with known parameters, with intervals that hold them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from harness.report.reward_curves import Form, distance_of, fit_curve

if TYPE_CHECKING:
    from harness.report.statistics import Array

DISTANCES = (0.5, 1.0, 2.0, 3.5, 5.0, 7.0)


def curve(form: Form, d: float, alpha: float, beta: float) -> float:
    return d * (alpha - beta * (math.log(d) if form == "rl" else d))


def generated(
    form: Form, alpha: float, beta: float, *, noise: float = 0.0, seeds: int = 3, prompts: int = 60, draw: int = 0
) -> tuple[list[Array], list[Array]]:
    """Return KL (S, N) and reward (S, N) of each point; noise is of seeds, of prompts and of both."""
    generator = np.random.default_rng(draw)
    kl, rewards = [], []
    for d in DISTANCES:
        spread = np.exp(0.3 * generator.normal(size=(seeds, prompts)))
        kl.append(d**2 * spread / spread.mean())
        own = generator.normal(size=(seeds, 1)) + generator.normal(size=(1, prompts))
        rewards.append(curve(form, d, alpha, beta) + noise * (own + generator.normal(size=(seeds, prompts))))
    return kl, rewards


@pytest.mark.parametrize(("form", "alpha", "beta"), [("rl", 1.2, 0.5), ("rl", 0.7, 0.0), ("bon", 0.9, 0.08)])
def test_known_parameters_are_found_exactly_without_noise(form: Form, alpha: float, beta: float) -> None:
    found = fit_curve(*generated(form, alpha, beta), form)
    assert found is not None
    assert (found.alpha.mean, found.beta.mean) == pytest.approx((alpha, beta), abs=1e-9)
    assert found.residual == pytest.approx(0.0, abs=1e-9)
    for d in DISTANCES:
        assert found.at(d) == pytest.approx(curve(form, d, alpha, beta), abs=1e-9)
    assert found.at(0.0) == 0.0


@pytest.mark.parametrize(("form", "alpha", "beta"), [("rl", 1.2, 0.5), ("bon", 0.9, 0.08)])
def test_the_peak_is_where_the_curve_is_largest(form: Form, alpha: float, beta: float) -> None:
    found = fit_curve(*generated(form, alpha, beta), form)
    assert found is not None
    assert found.peak is not None
    grid = np.linspace(0.01, 12, 200_000)
    values = grid * (alpha - beta * (np.log(grid) if form == "rl" else grid))
    assert found.peak.mean == pytest.approx(float(grid[values.argmax()]), abs=1e-3)


@pytest.mark.parametrize("form", ["rl", "bon"])
def test_the_least_squares_are_those_of_numpy(form: Form) -> None:
    kl, rewards = generated(form, 1.0, 0.2, noise=0.3)
    d = np.sqrt([values.mean() for values in kl])
    design = np.stack([d, -d * np.log(d) if form == "rl" else -(d**2)], axis=1)
    expected, *_ = np.linalg.lstsq(design, np.array([values.mean() for values in rewards]), rcond=None)
    found = fit_curve(kl, rewards, form)
    assert found is not None
    assert (found.alpha.mean, found.beta.mean) == pytest.approx(tuple(expected), abs=1e-9)


def test_intervals_hold_known_parameters_about_as_often_as_they_say() -> None:
    held, runs = np.zeros(3), 40
    for draw in range(runs):
        found = fit_curve(*generated("rl", 1.2, 0.5, noise=0.2, draw=draw, seeds=10), "rl")
        assert found is not None
        assert found.peak is not None
        truth = (1.2, 0.5, math.exp(1.2 / 0.5 - 1))
        for place, interval in enumerate((found.alpha, found.beta, found.peak)):
            held[place] += interval.low <= truth[place] <= interval.high
        assert found.alpha.high - found.alpha.low < 1.0
    assert (held >= 0.85 * runs).all()  # three standard errors below 95 %


def test_a_straight_line_is_not_said_to_turn() -> None:
    found = fit_curve(*generated("rl", 0.5, 0.0, noise=0.5), "rl")
    assert found is not None
    assert found.beta.low < 0 < found.beta.high
    assert found.peak is None


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_fewer_than_three_points_are_not_fitted(kept: int) -> None:
    kl, rewards = generated("rl", 1.0, 0.1)
    assert fit_curve(kl[:kept], rewards[:kept], "rl") is None


def test_points_at_one_distance_are_not_fitted() -> None:
    kl, rewards = generated("rl", 1.0, 0.1)
    assert fit_curve([kl[0]] * 4, rewards[:4], "rl") is None


@pytest.mark.parametrize(("seeds", "grouped", "known"), [(1, False, True), (2, False, False), (3, True, False)])
def test_when_there_is_an_interval(seeds: int, *, grouped: bool, known: bool) -> None:
    found = fit_curve(*generated("rl", 1.2, 0.5, noise=0.1, seeds=seeds), "rl", grouped=grouped)
    assert found is not None
    assert found.alpha.known == found.beta.known == known
    assert found.peak is not None  # beta may be 0 for all that is known, and is not by its mean


def test_missing_values_are_left_out_of_means() -> None:
    kl, rewards = generated("rl", 1.2, 0.5)
    for values in (kl[2], rewards[2]):
        values[0, :10] = np.nan
    found = fit_curve(kl, rewards, "rl")
    assert found is not None
    assert found.alpha.known
    assert distance_of(kl[2]) == pytest.approx(math.sqrt(np.nanmean(kl[2])))
