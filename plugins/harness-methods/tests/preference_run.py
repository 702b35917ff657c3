"""Ragged batches with answers, rewards, labels and pairs, and a run over them, for the tests of preference methods."""

from __future__ import annotations

import copy
import importlib
import random
import threading
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from methods.fake_run import EOS, VOCABULARY, FakeRun, Ranks, TinyModel, batch_of, completions

from harness.api import LogProbs, Pairs
from harness.training.global_rows import gathered, rolled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from harness.api import Batch, Completions, MethodRegistration

#: Log-probs of an answer's tokens by row and tokens, in the place of a model's.
Given = dict[tuple[str, tuple[int, ...]], list[float]]

#: Log-probs of tokens by prompt and answer.
Table = list[list[list[float]]]


@dataclass
class PreferenceRun(FakeRun):
    """A run that knows the whole batch and keeps what is logged; ``given`` log-probs take a model's place."""

    given: tuple[Given, Given] | None = None
    """The policy's and the reference model's."""
    logged: dict[str, list[float]] = field(default_factory=dict)

    @property
    def _group(self) -> Any:
        ranks, rank = self.ranks, self.rank
        if ranks is None:
            return SimpleNamespace(rank=0, world=1, gather=lambda value: [value])
        return SimpleNamespace(rank=rank, world=ranks.count, gather=lambda value: ranks.gather(rank, value))

    def gather(self, rows: Mapping[str, Any]) -> Any:
        return gathered(self._group, rows)

    def roll(self, rows: Mapping[str, Any], shift: int) -> Any:
        return rolled(self._group, rows, shift)

    def log(self, name: str, numerator: Tensor | float, denominator: Tensor | float) -> None:
        sums = self.logged.setdefault(name, [0.0, 0.0])
        for place, value in enumerate((numerator, denominator)):
            sums[place] += float(torch.as_tensor(value).double().sum())

    def logprobs(self, batch: Batch, completions: Completions, **settings: Any) -> LogProbs:
        return (
            super().logprobs(batch, completions, **settings)
            if self.given is None
            else self._look_up(batch, completions, 0)
        )

    def reference_logprobs(self, batch: Batch, completions: Completions, *, temperature: float = 1.0) -> LogProbs:
        if self.given is None:
            return super().reference_logprobs(batch, completions, temperature=temperature)
        return self._look_up(batch, completions, 1)

    def _look_up(self, batch: Batch, completions: Completions, side: int) -> LogProbs:
        assert self.given is not None
        values = torch.zeros(completions.ids.shape, dtype=torch.float64)
        for b, name in enumerate(batch.ids):
            lengths = completions.lengths[b].tolist()
            for k, n in enumerate(lengths):
                tokens = tuple(completions.ids[b, k, :n].tolist())
                values[b, k, :n] = torch.tensor(self.given[side][name, tokens] if n else [], dtype=torch.float64)
        anchor = 0.0 * self.model.head.sum()  # what a gradient is asked for
        return LogProbs(values + (anchor if side == 0 else 0.0), completions.mask)


@dataclass
class World:
    """A batch as lists, and the weights of a policy and of a reference model. Absent answers are empty lists."""

    prompts: list[list[int]]
    answers: list[list[list[int]]]
    """Samples of each prompt, of which the first two are its pair, and the first what its label speaks of."""
    rewards: list[list[float | None]]
    labels: list[bool]
    seed: int = 0
    reference_seed: int = 1
    width: int = 0
    """Columns of padding at least."""

    @property
    def batch(self) -> Batch:
        """The batch; rows of one prompt have one text."""
        firsts = completions([group[:1] for group in self.answers], width=self.width)
        batch = batch_of(self.prompts, [[EOS]] * len(self.prompts), width=self.width)
        seconds = completions([group[1:2] or [[]] for group in self.answers], width=self.width)
        return replace(
            batch,
            prompts=replace(batch.prompts, texts=tuple(map(str, self.prompts))),
            pairs=Pairs(firsts, seconds),
            labels=torch.tensor(self.labels),
            completions=firsts,
        )

    def run(self, **settings: Any) -> PreferenceRun:
        """Return a run whose reference model has other weights than its policy, unless the seeds are the same."""
        batch = self.batch
        run = PreferenceRun(
            model=settings.pop("model", None) or TinyModel(self.seed),
            table=dict(zip(batch.ids, self.rewards, strict=True)),
            samples=completions(self.answers, width=self.width),
            ids=batch.ids,
            **settings,
        )
        run.reference = copy.deepcopy(TinyModel(self.reference_seed))
        return run


def random_world(seed: int, *, size: int | None = None, count: int | None = None) -> World:
    """Return a ragged world: absent and cut answers, lone EOS, ties, missing rewards, one prompt twice, one label."""
    draw = random.Random(seed)
    size = size or draw.randint(1, 5)
    count = count or draw.randint(2, 4)

    def words(low: int, high: int) -> list[int]:
        return [draw.randrange(1, VOCABULARY) for _ in range(draw.randint(low, high))]

    def answer() -> list[int]:
        if draw.random() < 0.06:
            return []
        return [*words(0, 5), EOS] if draw.random() < 0.75 else words(1, 6)

    def reward() -> float | None:
        return None if draw.random() < 0.15 else draw.choice([0.0, 0.25, 0.5, draw.random(), draw.random()])

    world = World(
        prompts=[words(1, 5) for _ in range(size)],
        answers=[[answer() for _ in range(count)] for _ in range(size)],
        rewards=[[reward() for _ in range(count)] for _ in range(size)],
        labels=[draw.random() < 0.5 for _ in range(size)],
        seed=seed,
        reference_seed=seed + 1000,
    )
    if seed % 5 == 0:
        world.rewards[0] = [0.3] * count
    if seed % 7 == 0:
        world.rewards[-1] = [0.7, *[None] * (count - 1)]
    if seed % 6 == 0:
        world.labels = [seed % 4 == 0] * size
    if seed % 4 == 0:  # neighbours with one prompt
        world.prompts[:2] = [world.prompts[0]] * len(world.prompts[:2])
    if seed % 9 == 0 and count > 1:
        world.answers[0][1] = world.answers[0][0]
    return world


def score(model: TinyModel, prompt: list[int], answer: list[int], *, dropout: bool = False) -> Tensor:
    """Return the log-prob of each token of an answer, (T,), by itself and without padding."""
    if not answer:
        return torch.zeros(0, dtype=torch.float64)
    logits = model(torch.tensor([prompt + answer]), dropout=dropout)[0, len(prompt) - 1 : -1]
    logps: Tensor = logits.log_softmax(-1)
    return logps.gather(1, torch.tensor(answer)[:, None])[:, 0]


class Scores:
    """The log-probs of a world's answers under its policy, with gradient, and under its reference model."""

    def __init__(self, world: World, *, dropout: bool) -> None:
        self.world, self.dropout = world, dropout
        self.model, self.reference_model = TinyModel(world.seed), TinyModel(world.reference_seed)
        self.nothing = torch.stack([0.0 * p.sum() for p in self.model.parameters()]).sum()

    def policy(self, b: int, answer: list[int]) -> Tensor:
        """Return those of an answer to prompt ``b``."""
        return score(self.model, self.world.prompts[b], answer, dropout=self.dropout)

    def ratio(self, b: int, answer: list[int], *, dropout: bool | None = None) -> Tensor:
        """Return h, the summed difference to the reference model."""
        prompt = self.world.prompts[b]
        policy = score(self.model, prompt, answer, dropout=self.dropout if dropout is None else dropout)
        return (policy - score(self.reference_model, prompt, answer).detach()).sum()


def registration(name: str) -> MethodRegistration:
    """Return what a method's plugin registers."""
    (found,) = importlib.import_module(f"harness_methods.{name.replace('-', '_')}").harness_register_methods()
    offered: MethodRegistration = found
    return offered


def make(name: str, raw: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return a method built from its options, and the options."""
    offered = registration(name)
    options = offered.options(**raw)
    module, _, attribute = str(offered.build).partition(":")
    return getattr(importlib.import_module(module), attribute)(options), options


def step(name: str, raw: Mapping[str, Any], world: World, **settings: Any) -> tuple[PreferenceRun, dict[str, float]]:
    """Return the run after one step, and what it said: returned or logged."""
    method, _ = make(name, raw)
    run = world.run(**settings)
    method.setup(run)
    said = dict(method.step(run, world.batch))
    return run, {**said, **{key: a / b for key, (a, b) in run.logged.items() if b}}


def assert_step(
    name: str,
    raw: Mapping[str, Any],
    world: World,
    oracle: Callable[[World, Any, Scores], tuple[dict[str, Tensor], dict[str, float]]],
    **settings: Any,
) -> None:
    """Compare shares, their gradients and what is said with an oracle's, to 1e-9."""
    run, said = step(name, raw, world, **settings)
    _, options = make(name, raw)
    scores = Scores(world, dropout=not getattr(options, "disable_dropout", False))
    shares, wanted = oracle(world, options, scores)
    assert run.shares.keys() == shares.keys()
    parameters = list(scores.model.parameters())
    for share, value in shares.items():
        assert run.shares[share] == pytest.approx(float(value.detach()), rel=1e-9, abs=1e-9), share
        slopes = torch.autograd.grad(value + scores.nothing, parameters, retain_graph=True)
        for mine, theirs in zip(run.grads[share], slopes, strict=True):
            assert torch.allclose(mine, theirs, rtol=1e-9, atol=1e-9), share
    assert said == {key: pytest.approx(value, rel=1e-9, abs=1e-9) for key, value in wanted.items()}


def assert_alike(one: PreferenceRun, other: PreferenceRun, factor: float = 1.0) -> None:
    """Compare losses and gradients of two runs; ``factor`` is other / one."""
    assert other.loss == pytest.approx(factor * one.loss, rel=1e-9, abs=1e-11)
    for mine, theirs in zip(one.gradient(), other.gradient(), strict=True):
        assert torch.allclose(theirs, factor * mine, rtol=1e-9, atol=1e-11)


def on_two_ranks(
    name: str, raw: Mapping[str, Any], world: World, split: int
) -> tuple[list[PreferenceRun], list[dict[str, float]]]:
    """Return the runs of two ranks, of which the first holds ``split`` rows, in parts of two or one; and their logs."""
    ranks = Ranks(2)
    runs = [world.run(ranks=ranks, rank=rank, part=2 - rank) for rank in range(2)]
    said: list[dict[str, float]] = [{}, {}]
    failures: list[BaseException] = []

    def work(rank: int, rows: Sequence[int]) -> None:
        try:
            method, _ = make(name, raw)
            method.setup(runs[rank])
            said[rank] = dict(method.step(runs[rank], world.batch[list(rows)]))
        except BaseException as error:  # noqa: BLE001  # a thread's failure must reach the test, whatever it is
            failures.append(error)
            ranks.barrier.abort()

    places = (range(split), range(split, len(world.prompts)))
    threads = [threading.Thread(target=work, args=(rank, rows)) for rank, rows in enumerate(places)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    names = {key for run in runs for key in run.logged}
    sums = {key: [sum(run.logged.get(key, [0.0, 0.0])[i] for run in runs) for i in range(2)] for key in names}
    logged = {key: a / b for key, (a, b) in sums.items() if b}
    return runs, [{**one, **logged} for one in said]


def golden_logps() -> tuple[Table, Table]:
    """Two prompts with three answers each: log-probs of their tokens under the policy and under the reference."""
    policy: Table = [
        [[-0.5, -1, -0.25], [-2], [-0.3, -0.8]],
        [[-1.2, -0.1], [-0.9, -0.9, -0.6, -0.2], [-0.4]],
    ]
    reference: Table = [
        [[-0.7, -1.1, -0.2], [-1.8], [-0.4, -0.7]],
        [[-1.5, -0.3], [-1, -0.7, -0.6, -0.4], [-0.9]],
    ]
    return policy, reference


def golden(
    rows: Sequence[tuple[int, Sequence[int]]],
    rewards: Sequence[Sequence[float | None]] = (),
    labels: Sequence[bool] = (),
) -> tuple[World, tuple[Given, Given]]:
    """Return a world of some golden answers, and their log-probs: of each row its prompt, 0 or 1, and its answers."""
    tables = golden_logps()
    answers, given = [], (Given(), Given())
    for b, (prompt, places) in enumerate(rows):
        group = []
        for j in places:
            length = len(tables[0][prompt][j])
            tokens = [*[1 + prompt * 3 + j] * (length - 1), EOS]
            tokens = tokens if length > 1 else [1 + prompt * 3 + j]  # no two answers of a prompt are the same
            group.append(tokens)
            for side in (0, 1):
                given[side][f"row-{b}", tuple(tokens)] = tables[side][prompt][j]
        answers.append(group)
    count = len(answers[0])
    return World(
        prompts=[[1 + prompt] for prompt, _ in rows],
        answers=answers,
        rewards=[list(row) for row in rewards] or [[0.0] * count for _ in rows],
        labels=list(labels) or [True] * len(rows),
    ), given
