"""RLOO from its formulas, in plain Python: no tensor, no padding, nothing shared with the method."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from table_run import Row


def counts(row: Row, o: Any) -> bool:
    """Whether an answer is one that the mean is over."""
    return bool(row.logps) and (row.reward is not None or o.absent_divisor == "all")


def learnt(row: Row, o: Any) -> bool:
    """Whether an answer's tokens are trained."""
    return counts(row, o) and (row.finished or not o.mask_truncated)


def advantages(groups: list[list[Row]], o: Any) -> list[list[float]]:
    """Each answer's shaped reward minus the mean of the others' in its group."""
    found = []
    members: list[tuple[int, int]] = []
    for b, group in enumerate(groups):
        shaped: dict[int, float] = {}
        for j, row in enumerate(group):
            if row.reward is None or not row.logps:
                continue
            reward = row.reward
            if o.reward_clip_range is not None:
                low, high = o.reward_clip_range
                reward = max(low, min(high, reward))
            if learnt(row, o):
                reward -= o.beta * sum(x - f for x, f in zip(row.old, row.reference, strict=True))
            shaped[j] = reward
        values = [0.0] * len(group)
        if len(shaped) > 1:
            members += [(b, j) for j in shaped]
            if len(set(shaped.values())) > 1:
                for j, reward in shaped.items():
                    values[j] = reward - statistics.fmean(other for i, other in shaped.items() if i != j)
        found.append(values)
    if o.normalize_advantages and members:
        spread = statistics.stdev(found[b][j] for b, j in members) + 1e-4
        found = [[value / spread for value in values] for values in found]
    return found


def loss(groups: list[list[Row]], advantages: list[list[float]], o: Any) -> tuple[float, list[list[list[float]]]]:
    """Return the mean over the answers that count, and its slope in every token's log-prob."""
    number = sum(counts(row, o) for group in groups for row in group)
    value, slopes = 0.0, []
    for group, own in zip(groups, advantages, strict=True):
        slopes.append([[0.0] * len(row.logps) for row in group])
        for j, (row, a) in enumerate(zip(group, own, strict=True)):
            if not counts(row, o):
                continue
            moving = learnt(row, o)
            if o.objective == "reinforce":
                value -= a * sum(row.logps) / number if moving else 0.0
                slope = -a
            else:
                ratio = math.exp(sum(row.logps) - sum(row.old)) if moving else 1.0
                low, high = 1 - o.epsilon, 1 + (o.epsilon if o.epsilon_high is None else o.epsilon_high)
                inside = max(low, min(high, ratio))
                value -= min(ratio * a, inside * a) / number
                # only a step that would take the ratio further out is held
                held = (a > 0 and ratio > high) or (a < 0 and ratio < low)
                slope = 0.0 if held else -a * ratio
            if moving:
                slopes[-1][j] = [slope / number] * len(row.logps)
    return value, slopes
