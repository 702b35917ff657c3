"""The reward of the on-policy methods, as the file composes it."""

from __future__ import annotations

from typing import Any, Literal

from harness.spec.section import DISPLAY, RESULT, Section, mark


class RewardUse(Section):
    """One part of the reward."""

    use: str = mark(RESULT)
    options: dict[str, Any] = mark(RESULT, {})
    label: str = mark(DISPLAY, "")
    weight: float = mark(RESULT, 1.0)


class Reward(Section):
    """The reward of the on-policy methods: one part or several."""

    parts: tuple[RewardUse, ...] = mark(RESULT)
    aggregate: Literal["before", "after"] = mark(RESULT, "before")
    """Weighted sum before the group mean is taken off, or each part normalised within its group (mean, sd) first."""
