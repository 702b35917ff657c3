"""Seeds of one row that are no repetitions, because they have in common what a seed must change."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness.report.findings import listed

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

    from harness.report.checks.course import Course

#: Two orders of the same rows coincide by chance at most once in so many runs; where they may more often, as where
#: there is one row, they prove nothing.
_SURELY: Final = math.log(1e6)


@dataclass(frozen=True)
class Alike:
    """Seeds that count as one."""

    seeds: tuple[int, ...]
    same: tuple[str, ...]
    """What they have in common: ``the same weights``."""

    @property
    def mark(self) -> str:
        """What follows the row's name in tables."""
        return f"error: seeds {listed(map(str, self.seeds))} are alike"

    @property
    def text(self) -> str:
        """What is wrong, after the row's name."""
        return f"seeds {listed(map(str, self.seeds))} are no repetitions of each other: they have {listed(self.same)}"


def alike_seeds(
    courses: Mapping[int, Course],
    weights: Mapping[int, str],
    noises: Mapping[tuple[str, str], Mapping[int, str]],
) -> tuple[Alike, ...]:
    """Return the seeds of a row that have the same order of rows, samples, random numbers or weights.

    Over the steps that all its seeds took. Random numbers count for themselves: a sampler that a seed never reached
    draws other texts all the same, where the order of the prompts or the weights differ.

    Args:
        courses: how each seed trained.
        weights: sha256 of the weights that each seed ended with.
        noises: for each data set and decoding, digests of the random numbers that each seed drew its answers with.
    """
    found: dict[tuple[int, ...], list[str]] = {}
    for what, keys in (*_in_training(courses), ("the same weights", weights), *_in_answers(noises)):
        for seeds in _groups(keys):
            found.setdefault(seeds, []).append(what)
    return tuple(Alike(seeds, tuple(same)) for seeds, same in found.items())


def _in_training(courses: Mapping[int, Course]) -> Iterable[tuple[str, Mapping[int, Hashable]]]:
    """Give what a seed changes with its value for each seed that has one, the causes before their effects."""
    steps = min((len(course.norms) for course in courses.values()), default=0)

    def over(read: Callable[[Course], tuple[str | None, ...]]) -> dict[int, Hashable]:
        listed_by_seed = {seed: read(course)[:steps] for seed, course in courses.items()}
        return {seed: digests for seed, digests in listed_by_seed.items() if any(digests)}

    if all(course.orders > _SURELY for course in courses.values()):
        yield "the same order of training rows", over(lambda course: course.rows)
    yield "the same random numbers to sample with in training", over(lambda course: course.noise)
    yield "the same samples in training", over(_drawn)


def _in_answers(
    noises: Mapping[tuple[str, str], Mapping[int, str]],
) -> Iterable[tuple[str, Mapping[int, Hashable]]]:
    for (dataset, decoding), noise in noises.items():
        yield f"the same random numbers to answer {dataset} with under {decoding}", noise


def _drawn(course: Course) -> tuple[str | None, ...]:
    """Return the digests of samples that chance had a part in."""
    return tuple(sample if noise else None for sample, noise in zip(course.samples, course.noise, strict=True))


def _groups(keys: Mapping[int, Hashable]) -> list[tuple[int, ...]]:
    seeds: dict[Hashable, list[int]] = {}
    for seed, key in keys.items():
        seeds.setdefault(key, []).append(seed)
    return [tuple(sorted(group)) for group in seeds.values() if len(group) > 1]
