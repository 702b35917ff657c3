"""Small methods and a quick way to train the tiny policy with them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from harness.execution.tiny import MAX_COMPLETION, MAX_PROMPT, TEMPLATE, tiny_examples, tried_policy
from harness.spec.recipe import MethodSampling, StepSettings
from harness.spec.results.train import PHASES, StepTokens, TrainStep
from harness.spec.schedule import Curve, Position
from harness.text.encode import EncodingParams, encode
from harness.training.assignment import Judges, RunContext, TrainingPlan
from harness.training.distributed import Ranks
from harness.training.loop import train
from harness.training.rewards import CombinedReward, Part

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from harness.api import Batch, Run, State
    from harness.lm.model.policy import Policy
    from harness.text.encode import EncodedRow
    from harness.training.reference import Precomputed


class Plain:
    """A method without state."""

    def setup(self, run: Run) -> None:
        pass

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        raise NotImplementedError

    def state_dict(self) -> Mapping[str, State]:
        return {}

    def load_state_dict(self, state: Mapping[str, State]) -> None:
        assert not state


class Supervised(Plain):
    """The token mean over the demonstrations of the global batch."""

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        tokens = run.total(batch.demonstrations.lengths.sum())

        def loss(batch: Batch) -> dict[str, Tensor]:
            return {"sft": -run.logprobs(batch, batch.demonstrations).sum().sum() / tokens}

        return run.update(loss, batch=batch)


class Evolution(Plain):
    """Samples at four temperatures, centred rewards, a supervised term: the shape of the on-policy methods."""

    coef = 0.5
    temperatures = (0.5, 1.0, 1.5, 2.0)

    def __init__(self) -> None:
        self.seen: list[tuple[str, ...]] = []
        self.texts: list[Any] = []

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        samples = run.sample(batch, self.temperatures)
        self.seen.append(batch.ids)
        self.texts.append(samples.ids.tolist())
        fitness = run.reward(batch, samples).centred()
        tokens, examples = run.total(batch.demonstrations.lengths.sum()), run.total(len(batch))

        def loss(batch: Batch, samples: Any, fitness: Tensor) -> dict[str, Tensor]:
            logp = run.logprobs(batch, batch.demonstrations.join(samples)).sum()
            return {
                "sft": -logp[:, 0].sum() / tokens,
                "eso": -self.coef * (fitness * logp[:, 1:]).sum() / examples,
            }

        return run.update(loss, batch=batch, samples=samples, fitness=fitness)


class Uneven(Evolution):
    """A loss whose shares are not the same for all rows: half of them have one of their own, and it alone."""

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        self.seen.append(batch.ids)
        tokens = run.total(batch.demonstrations.lengths.sum())

        def loss(batch: Batch) -> dict[str, Tensor]:
            logp = run.logprobs(batch, batch.demonstrations).sum()[:, 0]
            even = [place for place, name in enumerate(batch.ids) if int(name[-1]) % 2 == 0]
            odd = [place for place in range(len(batch)) if place not in even]
            shares = {"even": -logp[even].sum() / tokens, "odd": logp[odd].square().sum() / tokens}
            return {name: shares[name] for name, places in (("even", even), ("odd", odd)) if places}

        return run.update(loss, batch=batch)


def vowels(*, completions: list[str], references: list[Any], **_: Any) -> list[float | None]:
    """A reward with spread: the share of letters that the reference has too."""
    return [
        sum(letter in reference[0] for letter in text) / max(1, len(text))
        for text, reference in zip(completions, references, strict=True)
    ]


REWARD = CombinedReward([Part("vowels", vowels)])


def recipe(**settings: Any) -> StepSettings:
    return StepSettings(
        **{
            "batch_size": 4,
            "max_prompt_length": MAX_PROMPT,
            "max_completion_length": MAX_COMPLETION,
            "diagnose_every": 2,
            **settings,
        }
    )


def curve(last: Position, peak: float = 1e-2) -> Curve:
    return Curve(kind="cosine", peak=peak, floor=0.0, warmup_steps=0, first=Position(epochs=0), last=last)


def plan(method: str = "evolution", *, first: int = 0, last: int = 3, of: int = 3, **settings: Any) -> TrainingPlan:
    """A plan from epoch ``first`` to epoch ``last`` of ``of``; other settings are the plan's or else the recipe's."""
    peak = settings.pop("peak", 1e-2)
    fields = TrainingPlan.__dataclass_fields__
    own = {name: settings.pop(name) for name in list(settings) if name in fields}
    drawn = {name: settings.pop(name) for name in list(settings) if name in MethodSampling.model_fields}
    return TrainingPlan(
        **{
            "method": method,
            "recipe": recipe(**settings),
            "seed": 0,
            "sampling": MethodSampling(**drawn),
            "first": Position(epochs=first),
            "last": Position(epochs=last),
            "curve": curve(Position(epochs=of), peak),
            **own,
        }
    )


def tiny_rows(policy: Policy) -> Sequence[EncodedRow]:
    return encode(
        tiny_examples(),
        policy.tokeniser,
        TEMPLATE,
        EncodingParams(max_prompt=MAX_PROMPT, max_completion=MAX_COMPLETION, training=True),
    ).rows


def logged_step(step: int, seconds: float = 0.0) -> TrainStep:
    """A row of a log, each of whose phases took so many seconds."""
    return TrainStep(
        step=step,
        epoch=0,
        learning_rate=0.1,
        loss={"a": 1.0},
        grad_norm=2.0,
        moved={"a": True},
        tokens=StepTokens(generated=0, trained=3),
        micro_batches=1,
        seconds=dict.fromkeys(PHASES, seconds),
    )


class Result:
    """What a training run gave."""

    def __init__(self, summary: dict[str, Any], log: list[dict[str, Any]], policy: Policy, folder: Path) -> None:
        self.summary = summary
        self.log = log
        self.policy = policy
        self.folder = folder

    @property
    def weights(self) -> dict[str, Tensor]:
        return {name: p.detach() for name, p in self.policy.model.named_parameters()}


def go(
    what: TrainingPlan,
    method: Any,
    folder: Path,
    *,
    policy: Policy | None = None,
    reward: CombinedReward | None = REWARD,
    ranks: Ranks | None = None,
    rows: Sequence[EncodedRow] | None = None,
    load_reference: Any = None,
    precomputed: Precomputed | None = None,
    **context: Any,
) -> Result:
    """Train the tiny policy (or ``policy``)."""
    policy = policy or tried_policy(dropout=what.recipe.dropout)
    log: list[Any] = []
    folder.mkdir(parents=True, exist_ok=True)
    summary = train(
        what,
        policy,
        rows if rows is not None else tiny_rows(policy),
        method,
        folder,
        context=RunContext(log=log.append, ranks=ranks or Ranks(), **context),
        judges=Judges(reward=reward, load_reference=load_reference or tried_policy, precomputed=precomputed),
    )
    return Result(summary.to_json(), [row.to_json() for row in log], policy, folder)


def farthest(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """The largest difference between two sets of weights."""
    assert one.keys() == other.keys()
    worst = max(float((one[name] - other[name]).abs().max()) for name in one)
    assert not math.isnan(worst)
    return worst


def same_bits(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)
