"""A good method, and others that make one mistake each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from harness.api import Batch, Completions, LogProbs, Rewards, Run, State


class Good:
    """Raise what is rewarded above its group's mean, by an amount that grows from step to step."""

    candidates = 3

    def __init__(self, options: Any = None) -> None:
        self.steps = 0

    def setup(self, run: Run) -> None: ...

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        self.steps += 1
        samples = run.sample(batch, [1.0] * self.candidates)
        fitness = self.fitness(run.reward(batch, samples)) * self.steps
        rows = {"batch": batch, "samples": samples, "fitness": fitness, **self.more(run, batch, samples)}
        total = self.total(run, batch)

        def loss(batch: Batch, samples: Completions, fitness: Tensor, **more: Tensor) -> Mapping[str, Tensor]:
            made = run.logprobs(batch, samples, **self.settings)
            return {"reward": -(fitness * self.scores(batch, samples, made, **more)).sum() / self.divisor(total, batch)}

        run.update(loss, **rows)
        return self.told(run, batch, fitness)

    settings: Mapping[str, Any] = {}

    def fitness(self, rewards: Rewards) -> Tensor:
        return rewards.centred()

    def more(self, run: Run, batch: Batch, samples: Completions) -> dict[str, Any]:
        return {}

    def total(self, run: Run, batch: Batch) -> Tensor | int:
        return run.total(len(batch))

    def divisor(self, total: Tensor | int, batch: Batch) -> Tensor | int:
        return total

    def scores(self, batch: Batch, samples: Completions, made: LogProbs, **more: Tensor) -> Tensor:
        return made.sum()

    def told(self, run: Run, batch: Batch, fitness: Tensor) -> Mapping[str, float]:
        return {"spread": float(run.total(fitness.abs().sum()) / run.total(len(batch)))}

    def state_dict(self) -> Mapping[str, State]:
        return {"steps": self.steps}

    def load_state_dict(self, state: Mapping[str, State]) -> None:
        assert isinstance(state["steps"], int)
        self.steps = state["steps"]


class MeanOverPadding(Good):
    """A mean over the padded width of its own samples."""

    def scores(self, batch: Batch, samples: Completions, made: LogProbs, **more: Tensor) -> Tensor:
        return made.values.mean(-1)


class PaddingById(Good):
    """A length that counts what is no padding by its id."""

    def scores(self, batch: Batch, samples: Completions, made: LogProbs, **more: Tensor) -> Tensor:
        return made.sum() / (samples.ids != 0).sum(-1).clamp(min=1)


class PromptByWidth(Good):
    """A weight by the width of the prompts' tensor."""

    def scores(self, batch: Batch, samples: Completions, made: LogProbs, **more: Tensor) -> Tensor:
        return made.sum() / batch.prompts.ids.shape[1]


class AbsentIsZero(Good):
    """A mean of the group in which an absent reward counts as 0."""

    def fitness(self, rewards: Rewards) -> Tensor:
        return rewards.values - rewards.values.mean(1, keepdim=True)


class AbsentIsWorst(Good):
    """The worst candidate may be one that has no reward."""

    def fitness(self, rewards: Rewards) -> Tensor:
        low = rewards.values == rewards.values.amin(1, keepdim=True)
        apart = (rewards.values.amax(1, keepdim=True) > rewards.values.amin(1, keepdim=True)).double()
        return -low.double() * apart


class UsesReference(Good):
    """A distance to the reference model that is not declared."""

    def more(self, run: Run, batch: Batch, samples: Completions) -> dict[str, Any]:
        return {"start": run.reference_logprobs(batch, samples).sum()}


class DrawsByReference(Good):
    """Candidates of the reference model, not declared."""

    def more(self, run: Run, batch: Batch, samples: Completions) -> dict[str, Any]:
        run.sample(batch, [1.0], by="reference")
        return {}


class UsesPairs(Good):
    """Preferences that are not declared."""

    def more(self, run: Run, batch: Batch, samples: Completions) -> dict[str, Any]:
        assert batch.pairs is not None
        return {"chosen": run.logprobs(batch, batch.pairs.chosen, dropout=False).sum()}


class UsesLabels(Good):
    """Labels of completions that are not declared."""

    def more(self, run: Run, batch: Batch, samples: Completions) -> dict[str, Any]:
        assert batch.completions is not None
        assert batch.labels is not None
        logprobs = run.logprobs(batch, batch.completions, dropout=False).sum()
        return {"desirable": torch.where(batch.labels[:, None], logprobs, -logprobs)}


class SumsLabels(Good):
    """Labels alone, not declared."""

    def more(self, run: Run, batch: Batch, samples: Completions) -> dict[str, Any]:
        assert batch.labels is not None
        return {"desirable": torch.where(batch.labels[:, None], 1.0, 0.0)}


class UsesCritic(Good):
    """A critic that is not declared."""

    def setup(self, run: Run) -> None:
        run.add_critic("critic", start="policy")


class OldWithDropout(Good):
    """A ratio to old log-probs that dropout made noise of."""

    settings: Mapping[str, Any] = {"dropout": False}

    def more(self, run: Run, batch: Batch, samples: Completions) -> dict[str, Any]:
        return {"old": run.logprobs(batch, samples).sum()}

    def scores(self, batch: Batch, samples: Completions, made: LogProbs, **more: Tensor) -> Tensor:
        return (made.sum() - more["old"]).exp()


class LogsLastPart(Good):
    """Logs what the last micro-batch came to."""

    seen = 0.0

    def scores(self, batch: Batch, samples: Completions, made: LogProbs, **more: Tensor) -> Tensor:
        self.seen = float(made.mean().detach().mean())
        return made.sum()

    def told(self, run: Run, batch: Batch, fitness: Tensor) -> Mapping[str, float]:
        return {"logp": self.seen}


class LogsOwnRank(Good):
    """Logs a sum of what its own rank holds."""

    def told(self, run: Run, batch: Batch, fitness: Tensor) -> Mapping[str, float]:
        return {"spread": float(fitness.abs().sum())}


class MeanOfPart(Good):
    """A mean within the loss, which weighs micro-batches alike."""

    def divisor(self, total: Tensor | int, batch: Batch) -> Tensor | int:
        return len(batch)


class OwnTotal(Good):
    """Divided by what the own rank holds, not by what all do."""

    def total(self, run: Run, batch: Batch) -> Tensor | int:
        return len(batch)


class StateNotSaved(Good):
    """Forgets its count when a run goes on."""

    def state_dict(self) -> Mapping[str, State]:
        return {}

    def load_state_dict(self, state: Mapping[str, State]) -> None: ...


class StateNotLoaded(Good):
    """Saves its count and does not take it back."""

    def load_state_dict(self, state: Mapping[str, State]) -> None: ...


class GlobalRandom(Good):
    """Noise from torch's global generator."""

    def fitness(self, rewards: Rewards) -> Tensor:
        return rewards.centred() + 0.01 * torch.randn(rewards.values.shape)


class FirstCandidate(Good):
    """The first of candidates drawn alike counts twice."""

    def fitness(self, rewards: Rewards) -> Tensor:
        fitness = rewards.centred().clone()
        fitness[:, 0] *= 2
        return fitness


class OffByOne(Good):
    """Leaves out the first token of each answer."""

    def scores(self, batch: Batch, samples: Completions, made: LogProbs, **more: Tensor) -> Tensor:
        return made.values[..., 1:].sum(-1)


class NoEnd(Good):
    """Leaves out the EOS."""

    def scores(self, batch: Batch, samples: Completions, made: LogProbs, **more: Tensor) -> Tensor:
        places = torch.arange(made.values.shape[-1])
        return (made.values * (places < samples.answer_lengths[..., None])).sum(-1)


class EndTwice(Good):
    """Counts the EOS twice."""

    def scores(self, batch: Batch, samples: Completions, made: LogProbs, **more: Tensor) -> Tensor:
        last = (samples.lengths - 1).clamp(min=0)[..., None]
        return made.sum() + made.values.gather(-1, last)[..., 0] * samples.finished


class WrongSign(Good):
    """Raises what is rewarded least."""

    def fitness(self, rewards: Rewards) -> Tensor:
        return -rewards.centred()


class OneCandidate(Good):
    """The mean of the batch is the baseline, and an absent reward counts in it as 0."""

    candidates = 1

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        self.shared = run
        return super().step(run, batch)

    def fitness(self, rewards: Rewards) -> Tensor:
        mean = self.shared.total(rewards.values.sum()) / self.shared.total(len(rewards))
        return (rewards.values - mean) * rewards.present
