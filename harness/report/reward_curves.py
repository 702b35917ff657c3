"""How reward follows the distance from the start: the forms of Gao et al. 2023 (arXiv:2210.10760), with intervals.

With d = sqrt(KL(policy || start)), KL in nats an answer, and R the mean reward less that of the start::

    rl:   R(d) = d (alpha - beta log d),   largest at d = exp(alpha / beta - 1)
    bon:  R(d) = d (alpha - beta d),       largest at d = alpha / (2 beta)

Both are linear in their parameters, which least squares finds, every point having the same weight.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

import numpy as np

from harness.report.proportions import TOO_FEW
from harness.report.statistics import LEVEL, Interval, replicates, widening

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.report.statistics import Array

#: ``bon`` is best-of-n.
Form: TypeAlias = Literal["rl", "bon"]

#: Fewer points than this say nothing of whether a form of two parameters holds.
LEAST_POINTS: Final = 3


class RewardCurve(NamedTuple):
    """A form that was fitted to points."""

    form: Form
    alpha: Interval
    beta: Interval
    peak: Interval | None
    """The distance at which the reward is largest; None where beta may be 0 or less, so that it may be nowhere."""
    residual: float
    """Root of the mean squared residual, in the unit of the reward."""

    def at(self, distance: float) -> float:
        """Return the reward that the curve has at a distance, less that of the start."""
        first, second = _terms(np.array([distance]), self.form)
        return self.alpha.mean * float(first[0]) + self.beta.mean * float(second[0])


def distance_of(kl: Array) -> float:
    """Return the root of a mean KL (S, N) in nats an answer."""
    return math.sqrt(max(0.0, float(np.nanmean(kl))))


def fit_curve(kl: Sequence[Array], reward: Sequence[Array], form: Form, *, grouped: bool = False) -> RewardCurve | None:
    """Fit a form to P points; None for fewer than three that differ in their distance.

    The intervals are from a crossed bootstrap over seeds and prompts, the same ones drawn for every point. They say how
    far the parameters would move with new seeds and prompts, not whether the form is right. With two seeds there are
    none, nor where prompts are ``grouped``: prompts are drawn one by one. Those of one seed are for new prompts alone.

    Args:
        kl: (S, N) of each point, nats an answer.
        reward: (S, N) of each point, less the start's of the same seed and prompt; NaN where missing.
        form: which.
        grouped: whether prompts belong together.
    """
    if len(kl) < LEAST_POINTS:
        return None
    means = [np.array([[float(np.nanmean(values)) for values in each]]) for each in (kl, reward)]
    if len(np.unique(np.round(means[0], 12))) < LEAST_POINTS:
        return None
    centre, residual = _fitted(means[0], means[1], form)
    drawn, _ = _fitted(_drawn(kl), _drawn(reward), form)
    seeds, prompts = kl[0].shape
    known = not grouped and seeds != TOO_FEW and prompts > 1
    wider = max(map(widening, reward))

    def interval(middle: float, values: Array) -> Interval:
        if not known:
            return Interval(middle, math.nan, math.nan)
        low, high = np.quantile(values, [LEVEL / 2, 1 - LEVEL / 2])
        return Interval(middle, middle - wider * (middle - float(low)), middle + wider * (float(high) - middle))

    alpha, beta = (interval(float(centre[0, place]), drawn[:, place]) for place in (0, 1))
    peak = None
    if beta.mean > 0 and not (beta.known and beta.low <= 0):
        # of the few replicates that turn nowhere the peak is at the far end
        peak = interval(float(_peak(centre, form)[0]), _peak(drawn, form))
    return RewardCurve(form, alpha, beta, peak, float(residual[0]))


def _terms(distances: Array, form: Form) -> tuple[Array, Array]:
    """Return what alpha and beta are multiplied by; both are 0 at the start."""
    if form == "bon":
        return distances, -(distances**2)
    return distances, -distances * np.log(np.where(distances > 0, distances, 1.0))


def _fitted(kl: Array, reward: Array, form: Form) -> tuple[Array, Array]:
    """Return (alpha, beta), (R, 2), and the root mean squared residual (R,) of points (R, P).

    Orthogonalised, and not by normal equations, which square how nearly the two terms are one: distances may be close.
    """
    first, second = _terms(np.sqrt(np.maximum(kl, 0.0)), form)
    shared = _dot(first, second) / _dot(first, first)
    apart = second - shared[:, None] * first
    beta = _dot(apart, reward) / np.maximum(_dot(apart, apart), np.finfo(np.float64).tiny)
    alpha = _dot(first, reward) / _dot(first, first) - shared * beta
    residuals = alpha[:, None] * first + beta[:, None] * second - reward
    root: Array = np.sqrt((residuals**2).mean(1))
    return np.stack((alpha, beta), axis=1), root


def _dot(one: Array, other: Array) -> Array:
    products: Array = (one * other).sum(1)
    return products


def _drawn(matrices: Sequence[Array]) -> Array:
    """Return the mean of each of P matrices (S, N) in every replicate: (R, P)."""
    seeds, prompts = replicates(*matrices[0].shape)
    means = []
    for values in matrices:
        present = ~np.isnan(values)
        total = ((seeds @ np.where(present, values, 0.0)) * prompts).sum(1)
        means.append(total / np.maximum(((seeds @ present) * prompts).sum(1), 1.0))
    return np.stack(means, axis=1)


def _peak(parameters: Array, form: Form) -> Array:
    """Return the distance (R,) at which each curve is largest; the largest number where none is."""
    alpha, beta = parameters[:, 0], parameters[:, 1]
    ratio = alpha / np.where(beta > 0, beta, 1.0)
    peaks = np.exp(np.minimum(ratio - 1, 700.0)) if form == "rl" else np.maximum(ratio, 0.0) / 2
    found: Array = np.where(beta > 0, peaks, np.finfo(np.float64).max)
    return found
