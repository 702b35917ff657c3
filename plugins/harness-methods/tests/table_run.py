"""A run whose policy is a table of token log-probs: what a policy-gradient method is tested against without a model.

The log-probs of the policy are its parameters, so gradients are those in each token's log-prob, and updates by plain
gradient steps move ratios away from 1. Rewards, completions and the reference are given.
"""

from __future__ import annotations

import importlib
import itertools
import random
import threading
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from methods.cases import Case, random_case
from methods.fake_run import EOS, Ranks, batch_of, completions

from harness.api import Completions, Limits, LogProbs, Rewards
from harness.training.global_rows import gathered, shuffled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from torch import Tensor

    from harness.api import Batch, MethodRegistration

    Golden = tuple[list[list[float]], list[list[float]]]

#: What dropout does to a log-prob here: nothing random, but what is on and off differs.
DROPPED = 1.25


@dataclass
class Row:
    """One answer: its token log-probs now, when it was drawn and under the reference, and what is known of it."""

    logps: list[float]
    old: list[float]
    reference: list[float]
    reward: float | None
    finished: bool = True

    def at(self, logps: list[float]) -> Row:
        """Return the same answer under other weights."""
        return Row(logps, self.old, self.reference, self.reward, self.finished)


@dataclass
class World:
    """Prompts with candidates and rewards, the policy's log-probs of all tokens and the reference's."""

    batch: Batch
    samples: Completions
    rewards: list[list[float | None]]
    policy: Tensor
    """(B, K, T) float64; junk beyond an answer's end."""
    reference: Tensor

    def rows(self, temperature: float = 1.0, policy: Tensor | None = None, dropout: float = 1.0) -> list[list[Row]]:
        """Return the answers as lists, under ``policy`` if given."""
        now = self.policy if policy is None else policy
        lengths, ended = self.samples.lengths.tolist(), self.samples.finished.tolist()

        def logps(table: Tensor, b: int, j: int, factor: float = 1.0) -> list[float]:
            return [factor * x / temperature for x in table[b, j, : lengths[b][j]].tolist()]

        return [
            [
                Row(
                    logps(now, b, j, dropout),
                    logps(self.policy, b, j),
                    logps(self.reference, b, j),
                    reward,
                    ended[b][j],
                )
                for j, reward in enumerate(group)
            ]
            for b, group in enumerate(self.rewards)
        ]


def world_of(case: Case) -> World:
    """Return the case with random log-probs."""
    samples = case.samples
    generator = torch.Generator().manual_seed(case.seed)
    shape = samples.ids.shape
    policy, noise = (torch.rand(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    return World(case.batch, samples, case.rewards, -3 * policy, -3 * policy + noise - 0.5)


def random_world(seed: int, **settings: Any) -> World:
    """Return a ragged world: absent and cut answers, lone EOS, ties, missing rewards, equal groups, groups of one."""
    case = random_case(seed, missing=0.6 if seed % 4 == 0 else 0.15, **settings)
    if seed % 5 == 0:
        case.rewards[0] = [0.1] * len(case.rewards[0])
    if seed % 7 == 0:
        case.rewards[-1] = [0.7, *[None] * (len(case.rewards[-1]) - 1)]
    return world_of(case)


def world_from(rows: Sequence[Sequence[Row]]) -> World:
    """Return a world of answers that are written out; token ids are arbitrary."""
    ids = [[[*range(1, len(row.logps)), EOS if row.finished else 9] for row in group] for group in rows]
    samples = completions(ids)
    tables = [torch.full(samples.ids.shape, 7.0, dtype=torch.float64) for _ in range(2)]
    for b, group in enumerate(rows):
        for j, row in enumerate(group):
            for table, values in zip(tables, (row.old, row.reference), strict=True):
                table[b, j, : len(values)] = torch.tensor(values, dtype=torch.float64)
    batch = batch_of([[1]] * len(rows), [[EOS]] * len(rows))
    return World(batch, samples, [[row.reward for row in group] for group in rows], *tables)


@dataclass
class Update:
    """One optimiser step: the shares of the loss and the gradient in the policy's table, over all parts and ranks."""

    shares: dict[str, float]
    gradient: Tensor


@dataclass
class TableRun:
    """The services of a run over a world."""

    world: World
    learning_rate: float = 0.0
    part: int | None = None
    """Rows of a micro-batch; all where None."""
    ranks: Ranks | None = None
    rank: int = 0
    max_length: int = 6
    updates: list[Update] = field(default_factory=list)
    logged: dict[str, list[float]] = field(default_factory=dict)
    drawn: list[tuple[float, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.table = self.world.policy.clone().requires_grad_()
        self.limits = Limits(64, self.max_length, 64, None)
        self.inside = False

    def _places(self, batch: Batch) -> list[int]:
        return [self.world.batch.ids.index(name) for name in batch.ids]

    def sample(self, batch: Batch, temperatures: Sequence[float]) -> Completions:
        self.drawn.append(tuple(temperatures))
        assert len(temperatures) == self.world.samples.ids.shape[1]
        return self.world.samples[self._places(batch)]

    def reward(self, batch: Batch, completions: Completions) -> Rewards:
        rows = [self.world.rewards[b] for b in self._places(batch)]
        shape = completions.lengths.shape
        present = torch.tensor([[r is not None for r in row] for row in rows], dtype=torch.bool)
        values = torch.tensor([[0.0 if r is None else r for r in row] for row in rows], dtype=torch.float64)
        return Rewards(values.reshape(shape), present.reshape(shape))

    def _logprobs(self, table: Tensor, batch: Batch, completions: Completions, scale: float) -> LogProbs:
        """Candidates are the first ones of the table's."""
        size, count, width = completions.ids.shape
        values = table[self._places(batch)][:, :count, :width].reshape(size, count, width)
        mask = completions.mask
        return LogProbs(torch.where(mask, values * scale, torch.zeros_like(values)), mask)

    def logprobs(
        self, batch: Batch, completions: Completions, *, temperature: float = 1.0, dropout: bool = True
    ) -> LogProbs:
        assert self.inside or not dropout, "log-probs that are data are taken without dropout"
        return self._logprobs(self.table, batch, completions, (DROPPED if dropout else 1.0) / temperature)

    def reference_logprobs(self, batch: Batch, completions: Completions, *, temperature: float = 1.0) -> LogProbs:
        return self._logprobs(self.world.reference, batch, completions, 1 / temperature)

    def total(self, x: Tensor | float) -> Tensor:
        assert not self.inside
        value = torch.as_tensor(x).detach().clone()
        return value if self.ranks is None else self.ranks.total(self.rank, value)

    @property
    def _group(self) -> Any:
        """What the training code asks of its ranks."""
        ranks, rank = self.ranks, self.rank
        if ranks is None:
            return SimpleNamespace(rank=0, world=1, gather=lambda value: [value])
        return SimpleNamespace(rank=rank, world=ranks.count, gather=lambda value: ranks.gather(rank, value))

    def shuffle(self, rows: Mapping[str, Any], parts: int, purpose: str) -> Iterable[Mapping[str, Any]]:
        return shuffled(self._group, rows, parts, generator(purpose))

    def gather(self, rows: Mapping[str, Any]) -> Mapping[str, Any]:
        return gathered(self._group, rows)

    def log(self, name: str, numerator: Tensor | float, denominator: Tensor | float) -> None:
        sums = self.logged.setdefault(name, [0.0, 0.0])
        for place, value in enumerate((numerator, denominator)):
            sums[place] += float(torch.as_tensor(value).double().detach().sum())

    def update(self, loss: Callable[..., Mapping[str, Tensor]], **rows: Any) -> Mapping[str, float]:
        (size,) = {len(value) for value in rows.values()}
        step = self.part or max(size, 1)
        shares: dict[str, float] = {}
        gradient = torch.zeros_like(self.table)
        for first in range(0, size, step):
            places = list(range(first, min(first + step, size)))
            self.inside = True
            found = loss(**{name: value[places] for name, value in rows.items()})
            self.inside = False
            for name, share in found.items():
                assert share.dim() == 0
                shares[name] = shares.get(name, 0.0) + float(share.detach())
            total = torch.stack(list(found.values())).sum()
            (slopes,) = torch.autograd.grad(total, [self.table], allow_unused=True)
            gradient += torch.zeros_like(gradient) if slopes is None else slopes
        if self.ranks is not None:
            every = self.ranks.gather(self.rank, shares)
            shares = {name: sum(one.get(name, 0.0) for one in every) for name in sorted(set().union(*every))}
            gradient = self.ranks.total(self.rank, gradient)
        self.updates.append(Update(shares, gradient))
        with torch.no_grad():
            self.table -= self.learning_rate * gradient
        return shares


def generator(purpose: str) -> torch.Generator:
    """Return what a permutation is drawn from."""
    return torch.Generator().manual_seed(sum(map(ord, purpose)))


def parts_of(size: int, options: Any) -> list[list[int]]:
    """Return the prompts of each optimiser step of a batch, in order."""
    parts = []
    for number in range(options.num_iterations):
        order = list(range(size))
        if options.num_minibatches > 1:
            order = torch.randperm(size, generator=generator(f"pass {number}")).tolist()
        cuts = [part * size // options.num_minibatches for part in range(options.num_minibatches + 1)]
        parts += [order[low:high] for low, high in itertools.pairwise(cuts)]
    return [part for part in parts if part]


def build(registration: MethodRegistration, raw: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the method and its options."""
    options = registration.options(**raw)
    module, _, name = str(registration.build).partition(":")
    return getattr(importlib.import_module(module), name)(options), options


def step(registration: MethodRegistration, raw: Mapping[str, Any], world: World, **settings: Any) -> TableRun:
    """Return the run after one step of a method."""
    method, options = build(registration, {"num_generations": world.samples.ids.shape[1], **raw})
    run = TableRun(world, **settings)
    method.step(run, world.batch)
    assert run.drawn == [(options.temperature,) * options.num_generations]
    return run


def assert_step(
    run: TableRun,
    options: Any,
    names: set[str],
    advantages: Sequence[Sequence[float]],
    loss: Callable[[list[list[Row]], list[list[float]], Any], tuple[float, list[list[list[float]]]]],
) -> None:
    """Compare each update of a step with the oracle's, to 1e-9, following the weights as the oracle moves them."""
    world = run.world
    table = world.policy.clone()
    dropped = 1.0 if options.disable_dropout else DROPPED
    scale = dropped / options.temperature
    parts = parts_of(len(world.batch), options)
    assert len(run.updates) == len(parts)
    for part, update in zip(parts, run.updates, strict=True):
        rows = world.rows(options.temperature, table, dropped)
        if len(parts) == 1:  # what the ratio is taken to is the log-prob itself
            rows = [[Row(r.logps, r.logps, r.reference, r.reward, r.finished) for r in group] for group in rows]
        value, slopes = loss([rows[b] for b in part], [list(advantages[b]) for b in part], options)
        gradient = torch.zeros_like(table)
        for b, group in zip(part, slopes, strict=True):
            for j, tokens in enumerate(group):
                gradient[b, j, : len(tokens)] = scale * torch.tensor(tokens, dtype=torch.float64)
        assert update.shares.keys() == names
        torch.testing.assert_close(sum(update.shares.values()), value, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(update.gradient, gradient, rtol=1e-9, atol=1e-9)
        table = table - run.learning_rate * gradient
    torch.testing.assert_close(run.table.detach(), table, rtol=1e-9, atol=1e-9)


def assert_alike(one: TableRun, other: TableRun, factor: float = 1.0) -> None:
    """Compare two runs' updates and what they logged; ``factor`` is other / one of losses and gradients."""
    for mine, theirs in zip(one.updates, other.updates, strict=True):
        assert mine.shares.keys() == theirs.shares.keys()
        for share, value in mine.shares.items():
            torch.testing.assert_close(theirs.shares[share], factor * value, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(theirs.gradient, factor * mine.gradient, rtol=1e-9, atol=1e-12)
    assert one.logged.keys() == other.logged.keys()
    for name, sums in one.logged.items():
        torch.testing.assert_close(torch.tensor(other.logged[name]), torch.tensor(sums), rtol=1e-9, atol=1e-12)


def on_two_ranks(
    registration: MethodRegistration, raw: Mapping[str, Any], world: World, split: int, **settings: Any
) -> list[TableRun]:
    """Return the runs of two ranks, the first of which holds ``split`` prompts, in parts of two and of one.

    ``settings`` are those of the runs.
    """
    if "num_generations" in registration.options.model_fields:
        raw = {"num_generations": world.samples.ids.shape[1], **raw}
    ranks = Ranks(2)
    runs = [TableRun(world, ranks=ranks, rank=rank, part=2 - rank, **settings) for rank in range(2)]
    failures: list[BaseException] = []

    def work(rank: int, rows: list[int]) -> None:
        try:
            method, _ = build(registration, raw)
            method.step(runs[rank], world.batch[rows])
        except BaseException as error:  # noqa: BLE001  # a thread's failure must reach the test, whatever it is
            failures.append(error)
            ranks.barrier.abort()

    places = [list(range(split)), list(range(split, len(world.batch)))]
    threads = [threading.Thread(target=work, args=(rank, rows)) for rank, rows in enumerate(places)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    both = {name for run in runs for name in run.logged}
    sums = {name: [sum(run.logged.get(name, [0.0, 0.0])[i] for run in runs) for i in range(2)] for name in both}
    for run in runs:
        run.logged = sums
    return runs


def drawn_options(choices: Mapping[str, Sequence[Any]], seed: int) -> dict[str, Any]:
    """Return options drawn from ``choices``, the first of each as often as all others together."""
    draw = random.Random(seed)
    return {name: values[0] if draw.random() < 0.5 else draw.choice(list(values)) for name, values in choices.items()}


def golden_rows() -> list[list[Row]]:
    """Two prompts with three answers each, of 1 to 4 tokens."""
    logps: Golden = [[-0.5, -1, -0.25], [-2], [-0.3, -0.8]], [[-1.2, -0.1], [-0.9, -0.9, -0.6, -0.2], [-0.4]]
    old: Golden = [[-0.6, -0.9, -0.25], [-2.4], [-0.3, -1.1]], [[-1, -0.1], [-0.8, -1, -0.6, -0.5], [-0.1]]
    reference: Golden = [[-0.7, -1.1, -0.2], [-1.8], [-0.4, -0.7]], [[-1.5, -0.3], [-1, -0.7, -0.6, -0.4], [-0.9]]
    rewards = [1.0, 0.2, 0.6], [0.5, 0.9, -0.4]
    return [
        [Row(logps[b][j], old[b][j], reference[b][j], reward) for j, reward in enumerate(group)]
        for b, group in enumerate(rewards)
    ]
