"""Bradley–Terry strengths of three or more players from their wins over each other, with bootstrap intervals."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy

from harness.report.proportions import TOO_FEW
from harness.report.statistics import LEVEL, Interval, replicates, widening

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.report.statistics import Array, Pair

#: Where a replicate runs off to when a player lost, or won, every game of it.
_FAR = 20.0
_STEPS = 60
#: Replicates; each is a fit of its own.
_FITS = 500


class Strengths(NamedTuple):
    """Strengths by player, in logits with mean 0; or why there are none."""

    players: Mapping[str, Interval]
    because: str = ""


def strengths(wins: Mapping[Pair, Array], *, grouped: bool = False) -> Strengths:
    """Fit P(i beats j) = σ(s_i − s_j) to the wins (S, N) of each pair's first player, by maximum likelihood.

    The model is Bradley and Terry's (1952); a tie is half a win of each. A finite fit exists if and only if the players
    cannot be cut in two groups of which one never lost a point to the other (Ford 1957). The intervals are from a
    crossed bootstrap over seeds and prompts; the same seeds and prompts are drawn for every pair, which keeps what is
    common to them. With two seeds there are none, nor where prompts are ``grouped``: prompts are drawn one by one.
    """
    players = list(dict.fromkeys(player for pair in wins for player in pair))
    if len(players) < 3:
        return Strengths({}, "strengths need three players or more")
    counts = _points(players, wins, None)
    linked = counts + counts.T > 0
    number, group = scipy.sparse.csgraph.connected_components(linked, directed=False)
    if number > 1:
        apart = ", ".join(player for player, part in zip(players, group, strict=True) if part != group[0])
        return Strengths({}, f"no comparison links {apart} with {players[0]}, so there is no common scale")
    number, group = scipy.sparse.csgraph.connected_components(counts > 0, directed=True, connection="strong")
    if number > 1:
        return Strengths(
            {}, "some players won every point, or lost every point, against the others: no finite strength"
        )
    centre = _fit(counts[None])[0]
    drawn = _fit(_points(players, wins, next(iter(wins.values())).shape))
    low, high = np.quantile(drawn, [LEVEL / 2, 1 - LEVEL / 2], axis=0)
    intervals = {}
    for index, player in enumerate(players):
        wider = max(widening(values) for pair, values in wins.items() if player in pair)
        middle = float(centre[index])
        ends = middle - wider * (middle - float(low[index])), middle + wider * (float(high[index]) - middle)
        has_interval = not grouped and all(int((~np.isnan(values)).any(1).sum()) != TOO_FEW for values in wins.values())
        intervals[player] = Interval(middle, *(ends if has_interval else (math.nan, math.nan)))
    return Strengths(intervals)


def _points(players: Sequence[str], wins: Mapping[Pair, Array], shape: tuple[int, ...] | None) -> Array:
    """Return how many points (P, P) each player won of each; with ``shape``, for every replicate (R, P, P)."""
    drawn = tuple(part[:_FITS] for part in replicates(*shape)) if shape is not None else None
    lead = () if drawn is None else (len(drawn[0]),)
    found = np.zeros((*lead, len(players), len(players)))
    for (first, second), values in wins.items():
        i, j = players.index(first), players.index(second)
        present = ~np.isnan(values)
        for here, there, points in ((i, j, values), (j, i, 1 - values)):
            held = np.where(present, points, 0.0)
            found[..., here, there] += held.sum() if drawn is None else ((drawn[0] @ held) * drawn[1]).sum(1)
    return found


def _fit(points: Array) -> Array:
    """Return strengths (R, P) with mean 0, by Newton's steps on the sum-zero plane; runaway ones stop at ``_FAR``."""
    games = points + points.swapaxes(1, 2)
    count = points.shape[1]
    fitted = np.zeros(points.shape[:2])
    # the matrix of ones fixes the one direction that the likelihood does not know; the ridge serves empty replicates
    fixed = np.ones((count, count)) / count + 1e-9 * np.eye(count)
    for _ in range(_STEPS):
        p = scipy.special.expit(fitted[:, :, None] - fitted[:, None, :])
        gradient = (points - games * p).sum(2)
        weight = games * p * (1 - p)
        curvature = -weight
        curvature[:, np.arange(count), np.arange(count)] += weight.sum(2)
        step = np.linalg.solve(curvature + fixed, gradient[:, :, None])[:, :, 0]
        step = np.clip(step, -2, 2)
        fitted = np.clip(fitted + step, -_FAR, _FAR)
        if np.abs(step).max() < 1e-11:
            break
    centred: Array = fitted - fitted.mean(1, keepdims=True)
    return centred
