"""What a difference of two rows varies by: seeds, prompts and what neither explains.

A difference d is an (S, E) matrix: S seeds, E prompts, one value each. Its crossed two-way layout, d[s, e] = mean +
seed[s] + prompt[e] + rest[s, e], has three mean squares, as in any analysis of variance without replication (Cornfield
and Tukey 1956; Searle, Casella and McCulloch 1992, chapter 4). Everything here works on leading axes too, so that a
simulation runs the code that a report runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.report.statistics import Array


#: Fewer groups of prompts than this support no claim: their weights alone would decide it.
GROUPS_FOR_CLAIMS = 10


class Spread(NamedTuple):
    """Variances of an (..., S, E) difference's means; each is (...)."""

    mean: Array
    by_seed: Array
    """Variance of the S means over prompts, with S - 1 in the denominator; NaN with one seed."""
    by_prompt: Array
    """Variance of the E means over seeds, with E - 1; NaN with one prompt."""
    rest: Array
    """Mean square of what is left when both means are taken out, with (S - 1)(E - 1)."""


class Components(NamedTuple):
    """Variance components of one difference, in the squared unit of the column."""

    seed: float
    """Of another training run, the same for every prompt."""
    prompt: float
    """Of another prompt, the same for every run."""
    rest: float
    """Of a run on a prompt, its draws included."""


class Grouping(NamedTuple):
    """Prompts that belong together: variants of one template, turns of one dialogue."""

    members: Array
    """1 where a prompt (E) belongs to a group (G), else 0."""
    sizes: Array
    """(G,)"""

    @property
    def freedom(self) -> float:
        """Degrees of freedom of a mean over the groups: G - 1 where all are equal, less where a few hold most prompts.

        A group's share of the variance is as its size where its prompts vary by themselves, and as the square of that
        where they vary together; Satterthwaite's count of the groups is E²/Σn² in the one case and (Σn²)²/Σn⁴ in the
        other. Which it is, is not known: the harmonic mean of the two holds 6 % in both, the first alone up to 9 %.
        """
        squares = self.sizes**2
        alone = float(self.sizes.sum() ** 2 / squares.sum()) - 1
        together = float(squares.sum() ** 2 / (squares**2).sum())
        return min(alone, 2 / (1 / alone + 1 / together)) if alone > 0 else 0.0


def grouping(groups: Sequence[Any] | np.ndarray[Any, Any]) -> Grouping:
    """Return which of E prompts belong together, from one key for each."""
    names, place = np.unique(np.asarray(groups), return_inverse=True)
    members = (place.reshape(-1)[:, None] == np.arange(len(names))).astype(np.float64)
    return Grouping(members, members.sum(0))


def summed(difference: Array, groups: Grouping) -> Array:
    """Return one value a seed and group (..., S, G) in place of one a seed and prompt, with the same means over seeds.

    A group's sum of deviations has a variance that shrinks with its share of the prompts, because the mean that is
    taken out is made of it too; dividing by sqrt(1 - n/E) gives it back. Needs two groups or more.
    """
    prompts = groups.sizes.sum()
    means = difference.mean(-1, keepdims=True)
    parts = len(groups.sizes) / prompts * ((difference - means) @ groups.members) / np.sqrt(1 - groups.sizes / prompts)
    layout: Array = means + parts - parts.mean(-1, keepdims=True)
    return layout


def complete(values: Array) -> tuple[Array | None, np.ndarray[Any, np.dtype[np.bool_]]]:
    """Return the seeds of an (S, E) matrix that have anything, with the prompts that all of these have, and which.

    None where no prompt is left.
    """
    present = ~np.isnan(values)
    seeds = present.any(1)
    prompts = np.asarray(present[seeds].all(0)) if seeds.any() else np.zeros(values.shape[1], dtype=np.bool_)
    return (values[seeds][:, prompts] if prompts.any() else None), prompts


def spread(difference: Array) -> Spread:
    """Return the mean and the variances of (..., S, E) differences without missing values."""
    seeds, prompts = difference.shape[-2:]
    means = difference.mean(-1)
    centre = means.mean(-1)
    by_prompt = difference.mean(-2)
    rest = difference - means[..., None] - by_prompt[..., None, :] + centre[..., None, None]
    squares = np.einsum("...se,...se->...", rest, rest)
    return Spread(
        centre,
        _variance(means),
        _variance(by_prompt),
        squares / ((seeds - 1) * (prompts - 1)) if seeds > 1 and prompts > 1 else np.full_like(centre, np.nan),
    )


def _variance(values: Array) -> Array:
    return values.var(-1, ddof=1) if values.shape[-1] > 1 else np.full_like(values[..., 0], np.nan)


def estimated(variances: Spread, seeds: int, prompts: int) -> Components:
    """Return the variance components that the mean squares estimate, none of them below 0.

    Expected: the variance of seeds' means is seed + rest / E, that of prompts' means prompt + rest / S.
    """
    rest = float(variances.rest)
    by_seed, by_prompt = float(variances.by_seed) - rest / prompts, float(variances.by_prompt) - rest / seeds
    return Components(max(0.0, by_seed), max(0.0, by_prompt), rest)


def expected(components: Components, seeds: int, prompts: int) -> Spread:
    """Return the variances that these components lead to with so many seeds and prompts."""
    seed, prompt, rest = components
    values = (0.0, seed + rest / prompts, prompt + rest / seeds, rest)
    return Spread(*(np.asarray(value) for value in values))


def squared_reach(
    variances: Spread, seeds: int, prompts: int, by_seed: Array | float, by_prompt: Array | float
) -> Array:
    """Return the square of how far from the mean it may lie, each component with a multiple of its own.

    max(a² · G/S, b² · W/(S E)) + b² · max(0, P/E - W/(S E)), with a for seeds, b for prompts, and G, P and W the three
    variances of :class:`Spread`. One number of degrees of freedom for the sum (Satterthwaite 1946) fails: a component
    that is small by chance raises it and shrinks the error together.
    """
    noise = variances.rest / (seeds * prompts)
    seed = np.maximum(by_seed**2 * variances.by_seed / seeds, by_prompt**2 * noise)
    reach: Array = seed + by_prompt**2 * np.maximum(0.0, variances.by_prompt / prompts - noise)
    return reach
