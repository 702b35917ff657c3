"""GRPO and its kin from their formulas, in plain Python: no tensor, no padding, nothing shared with the method."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from table_run import Row


def punishment(tokens: int, limit: int, cache: int) -> float:
    """DAPO's soft overlong punishment."""
    if tokens <= limit - cache:
        return 0.0
    return (limit - cache - tokens) / cache if tokens <= limit else -1.0


def rewarded(row: Row) -> bool:
    return bool(row.logps) and row.reward is not None


def dropped(group: list[Row], o: Any) -> bool:
    """Whether a group is left out because its rewards are all equal."""
    return bool(o.drop_equal_groups) and len({row.reward for row in group if rewarded(row)}) < 2


def counts(row: Row, group: list[Row], o: Any) -> bool:
    """Whether an answer is one that means are over."""
    return bool(row.logps) and (row.reward is not None or o.absent_divisor == "all") and not dropped(group, o)


def learnt(row: Row, group: list[Row], o: Any) -> int:
    """How many tokens of an answer are trained."""
    return len(row.logps) if counts(row, group, o) and (row.finished or not o.mask_truncated) else 0


def _deviation(values: list[float], ddof: int) -> float:
    if len(values) <= ddof:
        return 0.0
    return statistics.stdev(values) if ddof else statistics.pstdev(values)


def advantages(groups: list[list[Row]], o: Any, limit: int) -> list[list[float]]:
    """Each answer's reward against its group's, scaled."""
    shaped: list[dict[int, float]] = []
    for group in groups:
        shaped.append({})
        if dropped(group, o):
            continue
        for j, row in enumerate(group):
            if rewarded(row) and row.reward is not None:
                less = 0.0 if o.overlong_cache is None else punishment(len(row.logps), limit, o.overlong_cache)
                shaped[-1][j] = row.reward + less
    every = [reward for rewards in shaped for reward in rewards.values()]
    found = []
    for group, rewards in zip(groups, shaped, strict=True):
        values = [0.0] * len(group)
        own = list(rewards.values())
        if len(set(own)) > 1:
            scale = 1.0
            if o.scale_rewards != "none":
                scale = _deviation(own if o.scale_rewards == "group" else every, o.scale_ddof) + o.scale_epsilon
            for j, reward in rewards.items():
                values[j] = (reward - statistics.fmean(own)) / scale
        found.append(values)
    return found


def token_terms(row: Row, a: float, o: Any) -> tuple[list[float], list[list[float]]]:
    """Return l_t of each token of an answer, and d l_t / d log p_s as [t][s]."""
    size = len(row.logps)
    changes = [x - y for x, y in zip(row.logps, row.old, strict=True)]
    low, high = 1 - o.epsilon, 1 + (o.epsilon if o.epsilon_high is None else o.epsilon_high)
    values, slopes = [], []
    for t in range(size):
        if o.importance_sampling_level == "sequence":
            ratio = math.exp(sum(changes) / size)
            ratio_slope = [ratio / size] * size
        else:
            ratio = math.exp(changes[t])
            ratio_slope = [ratio if s == t else 0.0 for s in range(size)]
        free = ratio if o.delta is None else min(ratio, o.delta)
        inside = max(low, min(high, ratio))
        value = -min(free * a, inside * a)
        # the smaller of the two moves, unless what bounds it holds it
        unclipped = free * a < inside * a
        moving = (o.delta is None or ratio < o.delta) if unclipped else low < ratio < high
        slope = [-a * r if moving else 0.0 for r in ratio_slope]
        if o.beta:
            d = row.reference[t] - row.logps[t]
            q, q_slope = math.exp(d) - d - 1, 1 - math.exp(d)
            if o.use_bias_correction_kl:
                slope = [x + o.beta * q * r for x, r in zip(slope, ratio_slope, strict=True)]
                q, q_slope = q * ratio, q_slope * ratio
            value += o.beta * q
            slope[t] += o.beta * q_slope
        values.append(value)
        slopes.append(slope)
    return values, slopes


def weight(groups: list[list[Row]], b: int, j: int, o: Any, limit: int) -> float:
    """Return what each token of an answer weighs in the loss."""
    tokens = [[learnt(row, group, o) for row in group] for group in groups]
    answers = sum(counts(row, group, o) for group in groups for row in group)
    if o.loss_reduction == "seq_mean":
        return 1 / answers / tokens[b][j]
    if o.loss_reduction == "token_mean":
        return 1 / sum(map(sum, tokens))
    if o.loss_reduction == "constant":
        return 1 / answers / limit
    if o.loss_reduction == "constant_sum":
        return 1 / limit
    if o.loss_reduction == "seq_sum":
        return 1 / answers
    size = 1 if o.loss_reduction == "token_mean_group" else o.micro_batch_size
    parts = [range(first, min(first + size, len(groups))) for first in range(0, len(groups), size)]
    parts_that_count = sum(any(counts(row, groups[g], o) for g in part for row in groups[g]) for part in parts)
    (own,) = (part for part in parts if b in part)
    return 1 / parts_that_count / sum(sum(tokens[g]) for g in own)


def loss_for(limit: int) -> Any:
    """Return the loss of an optimiser step as a function of answers, advantages and options."""

    def loss(groups: list[list[Row]], advantages: list[list[float]], o: Any) -> tuple[float, list[list[list[float]]]]:
        value, slopes = 0.0, []
        for b, (group, own) in enumerate(zip(groups, advantages, strict=True)):
            slopes.append([[0.0] * len(row.logps) for row in group])
            for j, (row, a) in enumerate(zip(group, own, strict=True)):
                if not learnt(row, group, o):
                    continue
                w = weight(groups, b, j, o, limit)
                terms, moves = token_terms(row, a, o)
                value += w * sum(terms)
                slopes[-1][j] = [w * sum(move[s] for move in moves) for s in range(len(row.logps))]
        return value, slopes

    return loss
