"""Where a run stands, what it was told to be, and what happened in the step that is being taken."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING

import torch

from harness.api import Limits, Rewards
from harness.lm.decode.noise import noise_digest
from harness.spec.results.train import StepDigests
from harness.training.logged import LoggedMeans
from harness.training.meters import Signal
from harness.training.rewards import Notes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.api import Completions
    from harness.lm.decode.noise import Noise
    from harness.spec.recipe import AdapterSettings
    from harness.spec.results.train import StepSampler
    from harness.training.assignment import TrainingPlan
    from harness.training.extent import Extent
    from harness.training.updates import Update


@dataclass
class RunProgress:
    """Where in the whole schedule the run stands. Implements :class:`harness.api.Progress`."""

    total_steps: int
    steps_per_epoch: int
    step: int = 0
    epoch: int = 0
    fraction: float = 0.0

    def move(self, step: int, extent: Extent | None = None) -> None:
        """Stand before ``step``; ``extent`` says how much lies behind it."""
        self.step = step
        self.epoch = step // self.steps_per_epoch
        if extent is not None:
            self.total_steps = extent.total(step)
        self.fraction = step / max(1, self.total_steps) if extent is None else extent.fraction(step)


@dataclass
class StepRecord:
    """What happened in one step, on this rank."""

    signal: Signal = field(default_factory=Signal)
    notes: Notes = field(default_factory=Notes)
    logged: LoggedMeans = field(default_factory=LoggedMeans)
    """What the method logged outside of losses."""
    updates: list[Update] = field(default_factory=list)
    groups: list[tuple[tuple[str, ...], Rewards]] = field(default_factory=list)
    generated: int = 0
    rewarded: int = 0
    draws: int = 0
    drawn: list[int] = field(default_factory=list)
    """Of each call that let the policy draw samples: the sum of its rows' digests, modulo 2^64."""
    noises: list[Noise] = field(default_factory=list)
    """What they were drawn with: the same on every rank."""
    sampler: StepSampler | None = None
    """How far the log-probs of another engine, of what it drew, lay from the policy's."""

    def drew(self, ids: Sequence[str], completions: Completions) -> None:
        """Note which samples (B, K, T) the policy drew; padding, ranks and the order of the rows count for nothing."""
        tokens, lengths = completions.ids.cpu().numpy(), completions.lengths.cpu().tolist()
        total = 0
        for row, name in enumerate(ids):
            state = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8)
            for answer, length in zip(tokens[row], lengths[row], strict=True):
                state.update(b"\x00" + answer[:length].tobytes())
            total += int.from_bytes(state.digest(), "little")
        self.drawn.append(total % 2**64)

    def close(self) -> Signal:
        """Return the signal, with rewards of the same prompts seen as one group a prompt."""
        if self.groups:
            same = all(ids == self.groups[0][0] for ids, _ in self.groups)
            for rewards in [_side_by_side([r for _, r in self.groups])] if same else [r for _, r in self.groups]:
                self.signal.rewarded(rewards)
            self.groups = []
        return self.signal


def step_digests(ids: Iterable[str], drawn: Sequence[int], noises: Sequence[Noise]) -> StepDigests:
    """Return what tells a step's course from another's.

    Args:
        ids: of its rows, over all ranks, in their order.
        drawn: of each call that drew samples, the sum over all ranks, modulo 2^64.
        noises: what they were drawn with.
    """
    return StepDigests(
        rows=_digest(ids),
        samples=_digest(map(str, drawn)) if drawn else None,
        noise=noise_digest(noises) if noises else None,
    )


def _digest(texts: Iterable[str]) -> str:
    return blake2b("\x00".join(texts).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _side_by_side(calls: Sequence[Rewards]) -> Rewards:
    if len(calls) == 1:
        return calls[0]
    names = [name for name in calls[0].parts if all(name in rewards.parts for rewards in calls)]
    return Rewards(
        torch.cat([rewards.values for rewards in calls], 1),
        torch.cat([rewards.present for rewards in calls], 1),
        {name: torch.cat([rewards.parts[name] for rewards in calls], 1) for name in names},
    )


@dataclass(frozen=True)
class Settings:
    """What the services need to know of the recipe."""

    seed: int
    limits: Limits
    epochs: int
    method: str
    dropout: float
    """The largest of the policy's, an adapter's included."""
    gradient_checkpointing: bool
    suppress_stops: bool = False
    adapter: AdapterSettings | None = None
    engine: str | None = None
    """Who draws a method's samples; the harness where None."""

    @classmethod
    def of(cls, plan: TrainingPlan, positions: int | None) -> Settings:
        """Return those of a segment, with a policy that reads so many positions."""
        adapter = plan.recipe.adapter
        return cls(
            seed=plan.seed,
            limits=plan.limits(positions),
            epochs=plan.epochs,
            method=plan.method,
            dropout=max(plan.recipe.dropout, adapter.dropout if adapter else 0.0),
            gradient_checkpointing=plan.gradient_checkpointing,
            suppress_stops=plan.sampling.suppress_stops,
            adapter=adapter,
            engine=plan.sampling.engine,
        )
