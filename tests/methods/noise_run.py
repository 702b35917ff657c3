"""A run in memory for methods that perturb weights: one matrix, noise and rewards that the test gives."""

from __future__ import annotations

import copy
import math
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from methods.fake_run import Ranks, batch_of

from harness.api import Completions, Rewards

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from torch import Tensor

    from harness.api import Batch


@dataclass(frozen=True)
class Member:
    """A perturbed model."""

    seed: int
    place: int
    """Of its seed, in the order in which this run saw seeds."""
    sign: float
    weights: Tensor


@dataclass
class NoiseRun:
    """``judge`` rewards a member's answer to the prompt of an id; ``noise`` is drawn from a seed and a rank."""

    judge: Callable[[Member, str], float | None]
    noise: Callable[[int, int | None], Tensor]
    weights: Tensor
    learning_rate: float = 1.0
    ranks: Ranks = field(default_factory=lambda: Ranks(1))
    rank: int = 0
    applied: list[dict[int, float]] = field(default_factory=list)
    """The weight of each seed's noise, a dictionary a step."""
    told: list[Any] = field(default_factory=list)
    """What ``perturbed`` and ``apply`` were told of rank and weights."""
    drawn: list[tuple[Sequence[float], int | None]] = field(default_factory=list)
    """Temperatures and common noise of each call of ``sample``; the empty tuple for ``greedy``."""
    steps: int = 0
    members: list[Member] = field(default_factory=list)
    _seeds: dict[int, int] = field(default_factory=dict)

    def generator(self, purpose: str) -> torch.Generator:
        assert purpose
        return torch.Generator().manual_seed(self.steps)

    def see(self, seed: int) -> int:
        """Return the place of a seed, the next one if it is new."""
        return self._seeds.setdefault(seed, len(self._seeds))

    @contextmanager
    def perturbed(self, seed: int, scale: float, *, rank: int | None = None, only: str = "all") -> Iterator[None]:
        self.told.append((rank, only))
        place = self.see(seed)
        kept = self.weights
        self.weights = kept + scale * self.noise(seed, rank)
        self.members.append(Member(seed, place, 1.0 if scale > 0 else -1.0, self.weights))
        yield
        self.members.append(Member(seed, place, 0.0, kept))  # an answer that is drawn too late is another model's
        self.weights = kept

    def greedy(self, batch: Batch) -> Completions:
        self.drawn.append(((), None))
        return self._answers(batch)

    def sample(self, batch: Batch, temperatures: Sequence[float], *, noise: int | None = None) -> Completions:
        self.drawn.append((tuple(temperatures), noise))
        return self._answers(batch)

    def _answers(self, batch: Batch) -> Completions:
        """Return answers whose one token says which member wrote them."""
        ones = torch.ones(len(batch), 1, dtype=torch.int64)
        return Completions((ones * (len(self.members) - 1))[..., None], ones, ones > 0)

    def reward(self, batch: Batch, completions: Completions) -> Rewards:
        writers = [self.members[number] for number in completions.ids[:, 0, 0].tolist()]
        assert all(writer.sign for writer in writers)
        given = [self.judge(writer, name) for writer, name in zip(writers, batch.ids, strict=True)]
        values = torch.tensor([[value or 0.0] for value in given], dtype=torch.float64)
        return Rewards(values, torch.tensor([[value is not None] for value in given]))

    def gather(self, rows: Mapping[str, Any]) -> Mapping[str, Any]:
        every = self.ranks.gather(self.rank, dict(rows))
        return {
            name: torch.cat([part[name] for part in every])
            if isinstance(value, torch.Tensor)
            else tuple(item for part in every for item in part[name])
            for name, value in rows.items()
        }

    def apply(
        self, noise: Iterable[tuple[int, float]], *, rank: int | None = None, only: str = "all"
    ) -> Mapping[str, float]:
        self.told.append((rank, only))
        self.applied.append(dict(noise))
        for seed, weight in self.applied[-1].items():
            self.weights = self.weights - self.learning_rate * weight * self.noise(seed, rank)
        return {}

    def take(self, method: Any, batch: Batch) -> dict[str, float]:
        """Let a method take one step; return what it logs."""
        before = copy.deepcopy(batch.ids)
        said = dict(method.step(self, batch))
        self.steps += 1
        assert batch.ids == before
        return said

    def number(self, member: Member, *, antithetic: bool) -> int:
        """Return the place of a member among all, pairs by turns."""
        return 2 * member.place + (member.sign < 0) if antithetic else member.place


def prompts(count: int) -> Batch:
    """Return a batch of so many prompts, with ids ``row-0`` …."""
    return batch_of([[1]] * count, [[2, 0]] * count)


def scripted(*noise: Any) -> Callable[[int, int | None], Tensor]:
    """Return noise that is one of these for each new seed, in their order."""
    left = [torch.tensor(each, dtype=torch.float64) for each in noise]
    known: dict[int, Tensor] = {}

    def draw(seed: int, _rank: int | None) -> Tensor:
        if seed not in known:
            known[seed] = left[len(known)]
        return known[seed]

    return draw


def normal(*shape: int) -> Callable[[int, int | None], Tensor]:
    """Return noise as the harness draws it: full, or ``A @ B.T / sqrt(r)`` of rank r; float64."""

    def draw(seed: int, rank: int | None) -> Tensor:
        source = torch.Generator().manual_seed(seed)
        if rank is None:
            return torch.randn(shape, generator=source, dtype=torch.float64)
        left, right = (torch.randn(size, rank, generator=source, dtype=torch.float64) for size in shape)
        return left @ right.T / math.sqrt(rank)

    return draw
