"""What a training segment is asked to do, and what it is connected to while it does it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from harness.api import Limits
from harness.spec.recipe import MethodSampling
from harness.spec.results.train import TrainStep
from harness.training.distributed import Ranks

if TYPE_CHECKING:
    from pathlib import Path

    from harness.lm.model.policy import Policy
    from harness.lm.score.reward_model import RewardModel
    from harness.spec.budget import Budget
    from harness.spec.recipe import StepSettings
    from harness.spec.schedule import Curve, Position
    from harness.training.critic import LoadRewardModel
    from harness.training.reference import Precomputed
    from harness.training.rewards import CombinedReward

#: Called with one row of the log. After a resume the rows logged before it come again, so that a log is always whole.
Log: TypeAlias = Callable[[TrainStep], None]
#: Called with (steps done, steps of the segment, steps a second).
StepProgress: TypeAlias = Callable[[int, int, float], None]


@dataclass(frozen=True)
class TrainingPlan:
    """What a segment does."""

    method: str
    """The method's name; also the name of the share of a method that applies noise instead of a loss."""
    recipe: StepSettings
    seed: int
    first: Position
    """Where the segment begins on the whole schedule."""
    last: Position
    """The segment ends before this position; under a budget it says nothing."""
    curve: Curve
    """The learning rate; under a budget by the share of it that is spent."""
    budget: Budget | None = None
    """What ends the segment instead of ``last``."""
    sampling: MethodSampling = field(default_factory=MethodSampling)
    """What a method's own sampling is limited by."""
    tokens_per_micro_batch: int | None = None
    """Most tokens in one forward; found from the device where None."""
    gradient_checkpointing: bool = False
    start_sha256: str = ""
    """Digest of the weights as they were loaded, where an adapter was put on them since; else the policy's is taken."""
    previous: Path | None = None
    """The folder of the training stage that this one goes on from; None starts the optimiser afresh."""
    dropped: int = 0
    """Training rows that were left out for their length; for the summary."""
    identity: str = ""
    """The stage's id: an unfinished state of another stage is never used."""
    environment: Mapping[str, Any] = field(default_factory=dict)
    """The environment's fingerprint: an unfinished state made elsewhere is never used."""
    speaks: bool = True
    """Whether what is trained still gives a distribution over answers, which can be compared with that at the start: a
    reward model does not."""
    concurrent: bool = False
    """Whether other stages ran beside this one; for the timing table."""
    save_every: int = 0
    """Steps between two states from which an interrupted segment can go on; 0 for no limit."""
    save_minutes: float = math.inf
    """Minutes after which there is another such state, at the next step that ends."""

    @property
    def longest_sample(self) -> int:
        """Most tokens that a method samples for a prompt."""
        return self.sampling.generate_length or self.recipe.max_completion_length

    def limits(self, context: int | None) -> Limits:
        """Return how long texts may be where the model's context has so many tokens."""
        recipe = self.recipe
        return Limits(recipe.max_prompt_length, self.longest_sample, recipe.max_completion_length, context)

    @property
    def epochs(self) -> int:
        """How many epochs the whole schedule has; 1 where steps alone are counted."""
        return self.curve.end.whole_epochs or 1


@dataclass(frozen=True)
class Judges:
    """Whom a method may ask beside the policy, as far as it needs them."""

    reward: CombinedReward | None = None
    """The benchmark's reward."""
    reward_model: RewardModel | None = None
    """The model behind the reward, or that the method asks for."""
    load_reference: Callable[[], Policy] | None = None
    """Loads the checkpoint at which the method started, without dropout; called for the reference model and for each
    critic that starts from it."""
    load_reward_model: LoadRewardModel | None = None
    """Loads the reward model, for a critic that starts from it."""
    precomputed: Precomputed | None = None
    """Log-probs of the rows' pairs under that checkpoint, if a stage computed them."""


@dataclass(frozen=True)
class RunContext:
    """What a segment is connected to. None of it changes a result."""

    log: Log
    progress: StepProgress = lambda _done, _total, _rate: None
    ranks: Ranks = field(default_factory=Ranks)
    unfinished: Path | None = None
    """Folder for the states of this segment."""
    stop: Callable[[], int] = lambda: 0
    """Asked after each step: the number of the signal that wants an end, or 0."""
    keep: Callable[[], bool] = lambda: False
    """Asked after each step: whether the state is to be kept before the next."""
    note: Callable[[str], None] = lambda _text: None
    """Takes a sentence that the user should see."""
