"""ReMax from its formulas, in plain Python: no tensor, no padding, nothing shared with the method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from table_run import Row


def returns(row: Row, advantage: float, o: Any) -> list[float]:
    """G_t of each token of an answer."""
    size = len(row.logps)
    kl = [x - f for x, f in zip(row.logps, row.reference, strict=True)]
    found = []
    for t in range(1, size + 1):
        value = o.gamma ** (size - t + 1) * advantage
        if o.kl == "immediate":
            value -= o.kl_coef * kl[t - 1]
        elif o.kl == "cumulative":
            value -= o.kl_coef * sum(kl[t - 1 :])
        found.append(value)
    return found


def counts(group: list[Row]) -> bool:
    """Whether sampled and greedy answer are there and have rewards."""
    return all(row.logps and row.reward is not None for row in group)


def loss(groups: list[list[Row]], same: list[bool], o: Any) -> tuple[float, list[list[float]]]:
    """Return the loss and its slope in every token of the sampled answers.

    Args:
        groups: sampled and greedy answer of each prompt.
        same: whether they are one.
        o: the options.
    """
    learnt = [counts(group) and (group[0].finished or not o.mask_truncated) for group in groups]
    divisor = sum(map(counts, groups))
    if o.reduction == "token_mean":
        divisor = sum(len(group[0].logps) for group, moving in zip(groups, learnt, strict=True) if moving)
    value, slopes = 0.0, []
    for (sampled, greedy), one, moving in zip(groups, same, learnt, strict=True):
        slopes.append([0.0] * len(sampled.logps))
        if not moving or sampled.reward is None or greedy.reward is None:
            continue
        advantage = 0.0 if one else sampled.reward - greedy.reward
        if o.clip is not None:
            advantage = max(-o.clip, min(o.clip, advantage))
        weights = returns(sampled, advantage, o)
        value -= sum(g * x for g, x in zip(weights, sampled.logps, strict=True)) / divisor
        slopes[-1] = [-g / divisor for g in weights]
    return value, slopes
