"""How much data would decide, if what was measured is how things are."""

from __future__ import annotations

import scipy

from harness.report.statistics import LEVEL, POWER, SEEDS_FOR_CLAIMS

#: Nobody trains more seeds than this.
_MOST_SEEDS = 1000


def needed_seeds(difference: float, spread: float) -> int | None:
    """Return with how many seeds a paired t-test rejects at 5 % four times in five; None for more than a thousand.

    Args:
        difference: the true mean difference.
        spread: the standard deviation of the seeds' mean differences.
    """
    if spread == 0.0:
        return SEEDS_FOR_CLAIMS
    seeds = SEEDS_FOR_CLAIMS
    while seeds <= _MOST_SEEDS:
        strict = float(scipy.special.stdtrit(seeds - 1, 1 - LEVEL / 2))
        wanted = float(scipy.special.nctdtrinc(seeds - 1, 1 - POWER, strict))
        if abs(difference) / spread * seeds**0.5 >= wanted:
            return seeds
        seeds += 1
    return None


def needed_prompts(difference: float, spread: float) -> float:
    """Return with how many prompts a paired test rejects at 5 % four times in five, by the normal approximation.

    Args:
        difference: the true mean difference.
        spread: the standard deviation of the prompts' differences, each averaged over seeds.
    """
    if difference == 0.0:
        return float("inf")
    return float((scipy.special.ndtri(1 - LEVEL / 2) + scipy.special.ndtri(POWER)) * spread / abs(difference)) ** 2
