"""Random ragged batches, methods by name, and what an oracle says of them."""

from __future__ import annotations

import importlib
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from methods.fake_run import EOS, VOCABULARY, FakeRun, TinyModel, batch_of, completions
from methods.oracles import Answer, Group, Terms

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from harness.api import Batch, Completions, Method, MethodRegistration, Options

NAMES = ("sft", "eso", "unlikelihood", "drl", "rrhf")


def registration(name: str) -> MethodRegistration:
    """Return what a method's plugin registers."""
    module = importlib.import_module(f"harness_plugins.methods.{name}")
    (found,) = module.harness_register_methods()
    return cast("MethodRegistration", found)


def grouped(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as a file has them, from names in which ``compat.`` may stand before an option's own."""
    options = {name: value for name, value in raw.items() if "." not in name}
    compat = {name.removeprefix("compat."): value for name, value in raw.items() if "." in name}
    return options | ({"compat": compat} if compat else {})


def make(name: str, **raw: Any) -> tuple[Method, Any]:
    """Return a method built from its options (``compat.NAME`` is one within the group), and the options."""
    offered = registration(name)
    options: Options = offered.options(**grouped(raw))
    assert isinstance(offered.build, str)
    module, attribute = offered.build.split(":")
    method: Method = getattr(importlib.import_module(module), attribute)(options)
    return method, options


@dataclass
class Case:
    """A batch, candidates and rewards as lists; None is a missing reward."""

    prompts: list[list[int]]
    demonstrations: list[list[int]]
    candidates: list[list[list[int]]]
    rewards: list[list[float | None]]
    greedy: list[list[int]]
    greedy_rewards: list[float | None]
    demonstration_rewards: list[float | None]
    seed: int = 0
    width: int = 0
    """Columns of padding at least."""

    @property
    def batch(self) -> Batch:
        return batch_of(self.prompts, self.demonstrations, width=self.width)

    @property
    def samples(self) -> Completions:
        return completions(self.candidates, width=self.width)

    def table(self, name: str, options: Any) -> dict[str, list[float | None]]:
        """Rewards in the order in which a method asks for them."""
        first: Sequence[list[float | None]] = [[] for _ in self.rewards]
        if name == "drl" and options.baseline == "greedy":
            first = [[r] for r in self.greedy_rewards]
        elif name == "rrhf" and options.rank_demonstration:
            first = [[r] for r in self.demonstration_rewards]
        return {
            row: [*before, *rewards] for row, before, rewards in zip(self.batch.ids, first, self.rewards, strict=True)
        }

    def run(self, name: str, options: Any, **settings: Any) -> FakeRun:
        """Return a run whose candidates and rewards are this case's."""
        return FakeRun(
            model=settings.pop("model", None) or TinyModel(self.seed),
            table=self.table(name, options),
            samples=self.samples,
            greedy_samples=completions([[g] for g in self.greedy], width=self.width),
            ids=self.batch.ids,
            **settings,
        )


def random_case(
    seed: int, *, size: int | None = None, count: int | None = None, missing: float = 0.15, absent: float = 0.05
) -> Case:
    """Return a ragged case: short and long rows, empty and cut candidates, ties, missing rewards and candidates."""
    draw = random.Random(seed)
    size = size or draw.randint(1, 5)
    count = count or draw.randint(2, 5)

    def words(low: int, high: int) -> list[int]:
        return [draw.randrange(1, VOCABULARY) for _ in range(draw.randint(low, high))]

    def answer() -> list[int]:
        if draw.random() < absent:
            return []
        return [*words(0, 5), EOS] if draw.random() < 0.7 else words(1, 6)

    def reward() -> float | None:
        if draw.random() < missing:
            return None
        return draw.choice([0.0, 0.25, 0.5, draw.random(), draw.random()])

    candidates = [[answer() for _ in range(count)] for _ in range(size)]
    return Case(
        prompts=[words(1, 5) for _ in range(size)],
        demonstrations=[[*words(0, 6), EOS] if draw.random() < 0.8 else words(1, 6) for _ in range(size)],
        candidates=candidates,
        rewards=[[reward() for _ in row] for row in candidates],
        greedy=[[*words(0, 4), EOS] for _ in range(size)],
        greedy_rewards=[reward() for _ in range(size)],
        demonstration_rewards=[reward() for _ in range(size)],
        seed=seed,
    )


def token_logps(
    model: TinyModel, prompt: list[int], tokens: list[int], *, temperature: float = 1.0, dropout: bool = True
) -> list[Tensor]:
    """Log-prob of each token, one sequence at a time, without padding."""
    if not tokens:
        return []
    logits = model(torch.tensor([prompt + tokens]), dropout=dropout)[0] / temperature
    return [logits[len(prompt) - 1 + t].log_softmax(0)[token] for t, token in enumerate(tokens)]


def expected(
    case: Case, name: str, options: Any, oracle: Callable[[list[Group], Any], Terms]
) -> tuple[dict[str, float], dict[str, list[Tensor]]]:
    """Return the terms and their gradients as the oracle has them, each sequence scored by itself."""
    model = TinyModel(case.seed)
    scored: dict[tuple[int, int], list[Tensor]] = {}
    groups = []
    ranks_demonstration = name == "rrhf" and options.rank_demonstration
    for b, prompt in enumerate(case.prompts):
        own = case.candidates[b]
        rewards = case.rewards[b]
        if ranks_demonstration:
            own, rewards = [case.demonstrations[b], *own], [case.demonstration_rewards[b], *rewards]
        scored[b, -1] = token_logps(model, prompt, case.demonstrations[b])
        candidates = []
        for j, (tokens, reward) in enumerate(zip(own, rewards, strict=True)):
            # dropout_in_logp is the only option that says how candidates' log-probs are computed here
            scored[b, j] = token_logps(model, prompt, tokens, dropout=getattr(options, "dropout_in_logp", True))
            ratio = 1.0
            if name == "eso" and options.is_correction != "none":
                target = sum(token_logps(model, prompt, tokens, dropout=False))
                drawn = token_logps(model, prompt, tokens, temperature=options.temperatures[j], dropout=False)
                ratio = float(torch.as_tensor(target - sum(drawn)).detach().exp())
            candidates.append(Answer([float(x.detach()) for x in scored[b, j]], tokens[-1:] == [EOS], reward, ratio))
        ended = case.demonstrations[b][-1] == EOS
        demonstration = Answer([float(x.detach()) for x in scored[b, -1]], finished=ended)
        groups.append(Group(len(prompt), demonstration, candidates, case.greedy_rewards[b]))
    terms = oracle(groups, options)
    parameters = list(model.parameters())
    gradients = {}
    for term in terms.values:
        surrogate = 0.0 * torch.cat([p.flatten() for p in parameters]).sum()
        for (b, j, t), slope in terms.slopes.get(term, {}).items():
            surrogate = surrogate + slope * scored[b, j][t]
        gradients[term] = list(torch.autograd.grad(surrogate, parameters, retain_graph=True))
    return dict(terms.values), gradients


def assert_equal(run: FakeRun, values: dict[str, float], gradients: dict[str, list[Tensor]]) -> None:
    """Every share and its gradient, to 1e-9."""
    assert set(run.shares) == set(values)
    for name, value in values.items():
        torch.testing.assert_close(run.shares[name], value, rtol=1e-9, atol=1e-9)
        for found, wanted in zip(run.grads[name], gradients[name], strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


def shares_and_gradients(run: FakeRun) -> tuple[dict[str, float], dict[str, list[Tensor]]]:
    """What a run came to, to compare another with."""
    return dict(run.shares), {name: list(slopes) for name, slopes in run.grads.items()}
