"""Win rates: intervals that hold at 0 and 1, and what is left of a win rate where lengths are equal.

Wins of one row against one opponent are a matrix (S, N) of numbers in [0, 1]: the mean over draws of 1 for a win, ½ for
a tie and 0 for a loss; NaN where there is no verdict.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy

from harness.report.components import grouping
from harness.report.differences import TWO_SEEDS, own_interval
from harness.report.statistics import LEVEL, Interval, mean, replicates, widening

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.report.statistics import Array

#: What a judge's columns are called, before the opponent's name: the verdicts on a row, and on the null answer.
WIN, EMPTY = "win:", "null:"
#: Replicates of a fit; each is a regression of its own.
_FITS = 500
_STEPS = 30
#: Seeds that say too little of how much they differ; one is no sample of them, and its interval is of prompts.
TOO_FEW = 2
#: Logits further away than this are not an estimate: the fit runs off to infinity.
_FAR = 15.0


def wilson(share: float, count: float) -> tuple[float, float]:
    """Return Wilson's 95 % confidence interval of a share of ``count`` trials (Wilson 1927).

    A share of values between 0 and 1, ties or means over draws, has at most a binomial's variance: the interval is then
    too wide rather than too narrow.
    """
    z = float(scipy.special.ndtri(1 - LEVEL / 2))
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share))


def win_rate(wins: Array, *, groups: Sequence[str] | None = None) -> tuple[Interval, Interval] | None:
    """Return a win rate with the interval that tables show, and with Wilson's alone; None where nothing is present.

    The unit is the prompt: draws and seeds are averaged within it before Wilson's interval counts prompts, so many
    draws never make it shorter. It knows nothing of how much seeds differ, which the interval of any mean does; and
    that has no width where every prompt is won. Each end that tables show is the further one of the two. With two seeds
    there is none: too little is known of how much they differ. Nor is there one with too few groups of prompts.

    Wilson's trials are groups where prompts are grouped: E²/Σn² of them, for E prompts in groups of n, since a mean of
    values in [0, 1] has at most the variance p(1 − p) Σ(n/E)² if a group answers as one.
    """
    own = own_interval(wins, groups=groups, bounds=(0.0, 1.0))
    if own is None:
        return None
    interval, note = own
    low, high = wilson(interval.mean, _trials(np.asarray((~np.isnan(wins)).any(0)), groups))
    alone = Interval(interval.mean, low, high)
    if note == TWO_SEEDS or (groups is not None and not interval.known):
        return interval, alone
    if not interval.known:
        return alone, alone
    return Interval(interval.mean, max(0.0, min(interval.low, low)), min(1.0, max(interval.high, high))), alone


def _trials(present: np.ndarray[Any, np.dtype[np.bool_]], groups: Sequence[str] | None) -> float:
    """Return how many trials the prompts (E,) that are present are worth."""
    if groups is None:
        return float(present.sum())
    sizes = grouping(np.asarray(groups)[present]).sizes
    return float(sizes.sum() ** 2 / (sizes**2).sum())


class Controlled(NamedTuple):
    """What is left of a win rate where both answers are equally long."""

    rate: Interval
    slope: float
    """Change of the win's logit for one standard deviation more of length difference."""


def length_controlled(wins: Array, differences: Array, *, grouped: bool = False) -> Controlled | None:
    """Return the length-controlled win rate with its 95 % confidence interval.

    The logistic regression logit P(win) = a + b z, with z the difference in length (answer minus opponent, any unit)
    over its root mean square; not centred, so that σ(a) is the rate at equal length. Maximum likelihood with the means
    over draws as fractional outcomes (a quasi-binomial fit); one point a prompt and seed. Dubois et al. (2024,
    "Length-controlled AlpacaEval") add terms for the difficulty of each prompt, which need the outputs of many systems.
    The interval is a crossed bootstrap: 500 replicates of seeds and prompts, each fitted anew; with two seeds there is
    none, nor where prompts are ``grouped``: they are drawn one by one.

    None where there are fewer than two prompts, or no finite fit: every answer won or lost, or a length beyond which
    every answer won.
    """
    present = ~np.isnan(wins) & ~np.isnan(differences)
    rows, columns = present.any(1), present.any(0)
    wins, differences, present = wins[rows][:, columns], differences[rows][:, columns], present[rows][:, columns]
    if present.sum() < 2 or present.shape[1] < 2:
        return None
    scale = math.sqrt(float((differences[present] ** 2).mean())) or 1.0
    z = np.where(present, differences / scale, 0.0)
    outcome = np.where(present, wins, 0.0)
    flat = present.astype(np.float64).reshape(1, -1)
    fitted = _fit(outcome.reshape(-1), z.reshape(-1), flat)[0]
    if not np.isfinite(fitted).all() or np.abs(fitted).max() > _FAR:
        return None
    seeds, examples = replicates(*wins.shape)
    weights = (seeds[:_FITS, :, None] * examples[:_FITS, None, :]).reshape(_FITS, -1) * flat
    drawn = _fit(outcome.reshape(-1), z.reshape(-1), weights)[:, 0]
    rates = scipy.special.expit(drawn[np.isfinite(drawn)])
    centre = float(scipy.special.expit(fitted[0]))
    if grouped or wins.shape[0] == TOO_FEW:
        return Controlled(Interval(centre, math.nan, math.nan), float(fitted[1]))
    low, high = np.quantile(rates, [LEVEL / 2, 1 - LEVEL / 2])
    wider = widening(np.where(present, wins, np.nan))
    ends = max(0.0, centre - wider * (centre - float(low))), min(1.0, centre + wider * (float(high) - centre))
    return Controlled(Interval(centre, *ends), float(fitted[1]))


def _fit(outcome: Array, z: Array, weights: Array) -> Array:
    """Return intercept and slope (R, 2) of a weighted logistic regression for each row of weights, by Newton's steps.

    A step is never longer than 2, so that a fit without a maximum walks off slowly and ends beyond ``_FAR``. Where all
    lengths are equal there is nothing to regress on: the slope stays 0.
    """
    coefficients = np.zeros((len(weights), 2))
    flat = not np.any(z * weights[0])
    for _ in range(_STEPS):
        p = scipy.special.expit(np.clip(coefficients[:, :1] + coefficients[:, 1:] * z, -40, 40))
        residual = weights * (outcome - p)
        curvature = weights * p * (1 - p)
        gradient = np.stack([residual.sum(1), (residual * z).sum(1)], 1)
        a, b, c = curvature.sum(1), (curvature * z).sum(1), (curvature * z * z).sum(1)
        if flat:
            b, c, gradient[:, 1] = np.zeros_like(b), np.ones_like(c), 0.0
        determinant = np.maximum(a * c - b * b, 1e-12)
        step = np.stack([c * gradient[:, 0] - b * gradient[:, 1], a * gradient[:, 1] - b * gradient[:, 0]], 1)
        step = np.clip(step / determinant[:, None], -2, 2)
        coefficients += step
        if np.abs(step).max() < 1e-10:
            break
    return coefficients


def favours(null: Array, wins: Array | None = None) -> bool:
    """Return whether the null answer is liked better than chance, or than a row's answers."""
    rate = mean(null)
    if rate is None:
        return False
    other = 0.5 if wins is None else mean(wins)
    return other is not None and rate > other
