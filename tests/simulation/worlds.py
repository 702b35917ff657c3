"""Rows whose true differences are known: what the procedure is simulated on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from harness.report.statistics import Array

Pattern = Literal["equal", "baseline ×2", "baseline ×4", "baseline ×¼", "one rival ×4", "half ×4", "geometric 1–4"]
Kind = Literal["normal", "t3 noise", "t3 everywhere", "0/1", "groups", "two large groups", "three large groups"]


@dataclass(frozen=True)
class World:
    """How the scores of M rows vary; row 0 is the baseline."""

    rows: int
    seeds: int
    prompts: int
    seed: float
    """Standard deviation of a row's seeds, the same for every prompt."""
    prompt: float
    """Of a row on a prompt, the same for every seed."""
    noise: float
    """Of a seed on a prompt."""
    pattern: Pattern = "equal"
    kind: Kind = "normal"

    @property
    def scales(self) -> Array:
        """How many times as much each row's seeds vary."""
        found = np.ones(self.rows)
        if self.pattern.startswith("baseline"):
            found[0] = {"×2": 2.0, "×4": 4.0, "×¼": 0.25}[self.pattern.split()[1]]
        elif self.pattern == "one rival ×4":
            found[-1] = 4.0
        elif self.pattern == "half ×4":
            found[self.rows // 2 :] = 4.0
        elif self.pattern == "geometric 1–4":
            found = np.geomspace(1.0, 4.0, self.rows)
        return found

    @property
    def groups(self) -> np.ndarray[tuple[int], np.dtype[np.int64]] | None:
        """Return which group each prompt is in; None where each stands for itself."""
        if self.kind == "groups":
            return np.arange(self.prompts) % 20
        if self.kind.endswith("large groups"):  # they hold 60 % of the prompts, and each other prompt is one of its own
            few = 2 if self.kind.startswith("two") else 3
            found = np.arange(self.prompts)
            found[: self.prompts * 3 // 5] %= few
            return np.unique(found, return_inverse=True)[1]
        return None

    def draw(self, generator: np.random.Generator, count: int) -> Array:
        """Return ``count`` tables (count, M, S, E) in which no row differs truly.

        What all rows share, a prompt or the start of a seed, is left out: it cancels in every difference.
        """
        shape = (count, self.rows, self.seeds, self.prompts)
        seeds = self.seed * self.scales[:, None, None] * _drawn(generator, self.kind, (*shape[:3], 1))
        prompts = self.prompt * _drawn(generator, self.kind, (count, self.rows, 1, self.prompts))
        groups = self.groups
        if groups is not None:
            prompts = self.prompt * generator.standard_normal((count, self.rows, 1, int(groups.max()) + 1))[..., groups]
        if self.kind == "0/1":
            # the difficulty of a prompt is the same for all; what varies moves the chance of being right
            chance = generator.uniform(0.25, 0.75, (count, 1, 1, self.prompts)) + seeds + prompts
            return (generator.random(shape) < chance).astype(np.float64)
        values = (
            generator.standard_t(3, shape) / 3**0.5 if self.kind.startswith("t3") else generator.standard_normal(shape)
        )
        values *= self.noise
        values += seeds
        values += prompts
        return values

    @property
    def text(self) -> str:
        """What the table of figures calls it."""
        of = f"seed sd {self.seed:g}, row × prompt {self.prompt:g}, noise {self.noise:g}"
        return f"{self.rows} rows, {self.seeds} seeds, {self.prompts} prompts; {of}; seeds {self.pattern}; {self.kind}"


def _drawn(generator: np.random.Generator, kind: Kind, shape: tuple[int, ...]) -> Array:
    """Return standard normal numbers, or Student's with the same variance."""
    if kind == "t3 everywhere":
        return generator.standard_t(3, shape) / 3**0.5
    return generator.standard_normal(shape)


#: Seeds that carry nothing, a part and nearly all; among them what false claims were found with before.
SPREADS = ((0.0, 0.05, 0.06), (0.003, 0.05, 0.06), (0.0065, 0.05, 0.01), (0.01, 0.05, 0.03), (0.03, 0.01, 0.03))
PATTERNS: tuple[Pattern, ...] = (
    "equal", "baseline ×2", "baseline ×4", "baseline ×¼", "one rival ×4", "half ×4", "geometric 1–4",
)  # fmt: skip
SEEDS = (3, 5, 10)


def normal_worlds(seeds: int) -> list[World]:
    """Return the grid: 2 and 6 rows, every spread, every pattern of unequal seeds, 80 and 200 prompts in turn."""
    found = [World(2, seeds, (80, 200)[place % 2], *spread) for place, spread in enumerate(SPREADS)]
    listed = [(pattern, spread) for pattern in PATTERNS for spread in SPREADS]
    found += [
        World(6, seeds, 200 if place % 4 == 0 else 80, *spread, pattern)
        for place, (pattern, spread) in enumerate(listed)
        if spread[0] > 0 or pattern == "equal"
    ]
    return found


def other_worlds(kind: Kind, seeds: int) -> list[World]:
    """Return what is not normal, or not independent, with 2 and 6 rows and the baseline's seeds unequal too."""
    if kind.endswith("groups"):
        spreads: tuple[tuple[float, float, float], ...] = ((0.0, 0.05, 0.06), (0.0065, 0.02, 0.06))
    else:
        spreads = ((0.003, 0.05, 0.06), (0.03, 0.05, 0.03))
    found = [World(2, seeds, 100, *spread, "equal", kind) for spread in spreads]
    patterns: tuple[Pattern, ...] = ("equal", "baseline ×2" if kind == "0/1" else "baseline ×4")
    return found + [World(6, seeds, 100, *spread, pattern, kind) for spread in spreads for pattern in patterns]
