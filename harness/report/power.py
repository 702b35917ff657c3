"""How much data would decide, if what was measured is how things are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import scipy

from harness.report.components import expected, squared_reach
from harness.report.detectable import level_of, student
from harness.report.statistics import POWER

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.report.components import Components

#: Nobody trains more seeds than this, or judges more prompts.
_MOST_SEEDS: Final = 1000
_MOST_PROMPTS: Final = 100_000


def reach(components: Components, seeds: int, prompts: int, *, tests: int = 1) -> float:
    """Return the difference that so many seeds and prompts find four times in five, if these components are true.

    The multiples are those of each component by itself: the noncentral t distribution for seeds, of which there are
    few, and the normal approximation for prompts.

    Args:
        components: of the difference, per seed and prompt.
        seeds: S, two or more.
        prompts: E, two or more.
        tests: how many are corrected for together.
    """
    level = level_of(tests)
    by_seed = float(scipy.special.nctdtrinc(seeds - 1, 1 - POWER, student(seeds - 1, level)))
    by_prompt = float(scipy.special.ndtri(1 - level / 2) + scipy.special.ndtri(POWER))
    variances = expected(components, seeds, prompts)
    return math.sqrt(float(squared_reach(variances, seeds, prompts, by_seed, by_prompt)))


def needed_seeds(components: Components, size: float, seeds: int, prompts: int, *, tests: int = 1) -> int | None:
    """Return with how many seeds, of at least ``seeds``, a difference is found; None for more than a thousand."""
    return _least(lambda count: reach(components, count, prompts, tests=tests) <= size, seeds, _MOST_SEEDS)


def needed_prompts(components: Components, size: float, seeds: int, prompts: int, *, tests: int = 1) -> int | None:
    """Return with how many prompts, of at least ``prompts``, a difference is found; None for more than 100,000."""
    return _least(lambda count: reach(components, seeds, count, tests=tests) <= size, prompts, _MOST_PROMPTS)


def enough(components: Components, size: float, seeds: int, prompts: int, *, tests: int = 1) -> str:
    """Return in words how many more seeds, or prompts, or of both in proportion, would decide.

    Args:
        components: of the difference, per seed and prompt.
        size: how far the truth lies from what would change the verdict.
        seeds: how many there are.
        prompts: how many there are.
        tests: how many are corrected for together.
    """
    if reach(components, seeds, prompts, tests=tests) <= size:
        return "a little more of both seeds and prompts would decide"
    wanted_seeds = needed_seeds(components, size, seeds, prompts, tests=tests)
    wanted_prompts = needed_prompts(components, size, seeds, prompts, tests=tests)
    alone = [_count(wanted_seeds, seeds, "seeds"), _count(wanted_prompts, prompts, "prompts")]
    if any(alone):
        return f"{' or '.join(text for text in alone if text)} would decide"

    def both(times: int) -> tuple[int, int]:
        return math.ceil(seeds * times / 4), math.ceil(prompts * times / 4)

    most = 4 * min(_MOST_SEEDS // seeds, _MOST_PROMPTS // prompts)
    times = _least(lambda count: reach(components, *both(count), tests=tests) <= size, 4, most)
    if times is None:
        return "no practical number of seeds and prompts would decide"
    more_seeds, more_prompts = both(times)
    return f"{_count(more_seeds, seeds, 'seeds')} and {_count(more_prompts, prompts, 'prompts')} would decide"


def _count(wanted: int | None, have: int, what: str) -> str:
    return f"{wanted - have} more {what} ({wanted} in all)" if wanted is not None else ""


def _least(holds: Callable[[int], bool], low: int, most: int) -> int | None:
    """Return the least number from ``low`` to ``most`` for which something holds that goes on to hold."""
    if low > most or not holds(most):
        return None
    while low < most:
        middle = (low + most) // 2
        low, most = (low, middle) if holds(middle) else (middle + 1, most)
    return low
