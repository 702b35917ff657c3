"""What ``train`` stages leave behind."""

from __future__ import annotations

from typing import ClassVar, Final, Literal, TypeAlias

from harness.spec.results.base import ResultPart, ResultFile, ResultLine

Phase: TypeAlias = Literal["sampling", "reward", "forward_backward", "optimiser", "other"]
#: What the seconds of a step are split into.
PHASES: Final[tuple[Phase, ...]] = ("sampling", "reward", "forward_backward", "optimiser", "other")


class StepRewards(ResultPart):
    """The rewards of one step's samples."""

    missing: int
    mean: float | None = None
    """This and what follows are None where no sample had a reward."""
    sd: float | None = None
    """Root mean square about the mean of their group; None where each prompt has one candidate."""
    parts: dict[str, float] | None = None
    by_candidate: tuple[float, ...] | None = None
    """None where a candidate had no reward at all."""
    sd_by_candidate: tuple[float, ...] | None = None
    calls: int = 0
    """How many rewards were asked for."""
    notes: dict[str, float] | None = None


class StepGroups(ResultPart):
    """The groups of one step's candidates."""

    count: int
    without_spread: int


class StepSamples(ResultPart):
    """The samples of one step."""

    count: int
    empty: int
    truncated: int
    mean_length: float
    entropy: float | None = None
    """Nats a token at temperature 1."""


class StepTokens(ResultPart):
    """How many tokens a step sampled, and trained on."""

    generated: int
    trained: int


class StepDigests(ResultPart):
    """What tells one step's course from another's: 16 hex digits each, whatever the ranks and the micro-batches."""

    rows: str
    """Of the ids of its rows, in their order."""
    samples: str | None = None
    """Of the tokens that the policy drew; None where it drew none."""
    noise: str | None = None
    """Of the random numbers that they were drawn with; None where nothing was left to chance."""


class StepSampler(ResultPart):
    """How far the log-probs of another engine, of what it sampled, lie from those of the model that is trained."""

    engine: str
    tokens: int
    mean_difference: float
    """Nats, without sign, a token."""
    largest_difference: float
    mean_ratio: float
    """Of the probability of a token under the model to that under the engine: 1 where they are the same."""


class TrainStep(ResultLine):
    """One step."""

    file: ClassVar[str] = "train.jsonl"

    step: int
    """Counted over the whole schedule, the shared start included; so is ``epoch``."""
    epoch: int
    learning_rate: float
    loss: dict[str, float]
    """Each named share of the loss, as it entered the global sum."""
    grad_norm: float
    """Of the sum, before clipping."""
    moved: dict[str, bool]
    """Whether each share had a gradient at all."""
    grad_norms: dict[str, float] | None = None
    """Of each share by itself, on diagnosed steps."""
    grad_norms_without: dict[str, float] | None = None
    """Of the sum of all shares but this one, on diagnosed steps."""
    samples: StepSamples | None = None
    sampler: StepSampler | None = None
    """Where another engine sampled."""
    reward: StepRewards | None = None
    groups: StepGroups | None = None
    tokens: StepTokens
    micro_batches: int
    method: dict[str, float] | None = None
    """What the method itself reported."""
    not_finite: tuple[str, ...] | None = None
    """What the method reported that is not a number to keep."""
    kl: float | None = None
    """Mean nats a token from the policy to the start of the stage, on fixed prompts; on diagnosed steps."""
    probe_entropy: float | None = None
    digests: StepDigests | None = None
    """None in what a release wrote that recorded none."""
    seconds: dict[Phase, float]

    @property
    def total_seconds(self) -> float:
        """How long the step took."""
        return sum(self.seconds.values())


class Quartiles(ResultPart):
    """Median and quartiles, linear between order statistics."""

    median: float
    q1: float
    q3: float


class StepSeconds(ResultPart):
    """Quartiles over steps of the seconds that each phase took, and all together."""

    sampling: Quartiles
    reward: Quartiles
    forward_backward: Quartiles
    optimiser: Quartiles
    other: Quartiles
    total: Quartiles

    def of(self, phase: Phase) -> Quartiles:
        """Return the quartiles of a phase."""
        found: Quartiles = getattr(self, phase)
        return found


class HeldModel(ResultPart):
    """A model that was held in memory while training."""

    role: str
    """``policy``, ``reference``, ``reference adapter``, ``reward`` or ``module NAME``."""
    parameters: int
    bytes: int
    trained: int | None = None
    """How many of a policy's parameters are trained, where these are an adapter's."""


class ReferenceCost(ResultPart):
    """What the stage cost that computed the reference log-probs."""

    pairs: int
    tokens: int
    seconds: float


class RowsUsed(ResultPart):
    """How many training rows there were."""

    used: int
    dropped_overlong: int


class MicroBatches(ResultPart):
    """How steps were cut to fit in memory."""

    tokens: int
    halvings: int
    total: int


class TaughtRows(ResultPart):
    """What supervised training learnt from, in rows."""

    completion: int
    chosen: int
    undesirable: int
    """Left out: the completion is marked so."""
    without: int
    """Left out: there is no demonstration."""


class BudgetSpent(ResultPart):
    """How far training had come at one point of its budget."""

    name: str
    """``100 %``, ``25 %`` or ``step 50``."""
    steps: int
    """Of the row's own."""
    spent: float
    """In the budget's unit."""
    sampled: int
    """Tokens."""
    trained: int
    """Tokens."""
    seconds: float
    reached: bool = True
    """False where the budget was spent before so many steps: the checkpoint is the last one."""


class TrainSummary(ResultFile):
    """All steps of a stage."""

    file: ClassVar[str] = "summary.json"

    steps: int
    first_step: int
    last_step: int
    seconds: dict[Phase, float]
    step_seconds: StepSeconds
    tokens_generated: int
    tokens_trained: int
    reward_calls: int
    active: dict[str, bool]
    """Whether each share of the loss ever had a gradient."""
    peak_memory_bytes: int
    device: str
    threads: int
    ranks: int
    models_held: tuple[HeldModel, ...]
    reference_logprobs: ReferenceCost | None = None
    """Where they were computed beforehand."""
    weights_sha256: str
    weights_sums: tuple[float, ...] | None = None
    """Sums over the trained weights at the end, by which two checkpoints can be told apart, or found equal within
    rounding, without being loaded; see :func:`harness.training.weights.sums`. None in older records, as the next."""
    start_sums: tuple[float, ...] | None = None
    """The same before the first step."""
    rows: RowsUsed
    micro_batches: MicroBatches
    concurrent: bool
    """Whether other stages ran beside it."""
    way: str = ""
    """Which way the model took (see ``harness/lm/way.py``), and why not the fast one."""
    trained_on: TaughtRows | None = None
    """Of a supervised method."""
    budget: tuple[BudgetSpent, ...] | None = None
    """The end first, then each further point; None where epochs say when training ends."""
