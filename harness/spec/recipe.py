"""How every run is trained: how rows are cut, how a step is taken, and the schedule that steps are on."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, ValidationInfo, field_validator

from harness.spec.budget import Budget
from harness.spec.section import RESULT, RUNTIME, Decay, Section, mark


class AdapterSettings(Section):
    """A low-rank adapter (LoRA, Hu et al. 2021, https://arxiv.org/abs/2106.09685), trained in the weights' place.

    Beside each targeted layer ``x @ W`` stands ``alpha / rank * (x @ A @ B)``; A and B are trained, W is not. B starts
    at zero, so that training starts from the model as it was.
    """

    rank: PositiveInt = mark(RESULT, 16)
    alpha: PositiveFloat = mark(RESULT, 32.0)
    targets: Literal["all-linear"] | tuple[str, ...] = mark(RESULT, "all-linear")
    """Names of linear layers, such as ``[q_proj, v_proj]``; ``all-linear`` are all but the output head."""
    dropout: float = mark(RESULT, 0.0, ge=0.0, lt=1.0)
    """Of what goes into A."""


class RowLimits(Section):
    """What decides which tokens a training row is made of, its template and tokenizer apart."""

    max_prompt_length: PositiveInt = mark(RESULT, 512)
    max_completion_length: PositiveInt = mark(RESULT, 128)
    """Longest demonstration and longest sampled completion, in tokens, EOS included."""
    train_eos: bool = mark(RESULT, True)
    """Whether the EOS after a demonstration is a target."""


class StepSettings(RowLimits):
    """How a step is taken, wherever on a schedule: what every training stage of a recipe is told alike."""

    batch_size: PositiveInt = mark(RESULT, 16)
    """Prompts per optimiser step, over all ranks."""
    optimizer: Literal["adamw", "adam", "sgd"] = mark(RESULT, "adamw")
    """``adam`` and ``sgd`` couple the weight decay to the gradient (L2), ``adamw`` decouples it. A step of ``sgd``
    is the learning rate times the gradient: it has no momentum."""
    betas: tuple[Decay, Decay] = mark(RESULT, (0.9, 0.999))
    epsilon: PositiveFloat = mark(RESULT, 1e-8)
    weight_decay: NonNegativeFloat = mark(RESULT, 0.05)
    max_grad_norm: NonNegativeFloat = mark(RESULT, 1.0)
    """0 turns clipping off."""
    dropout: float = mark(RESULT, 0.0, ge=0.0, lt=1.0)
    """Set on every dropout of the model."""
    adapter: AdapterSettings | None = mark(RESULT, None)
    """Train a low-rank adapter on frozen weights (the extra ``lora``); all weights are trained where None."""
    diagnose_every: PositiveInt = mark(RESULT, 10)
    """Steps between measurements of each term's gradient norm and of the KL to the start on the probe."""


class SamplingEngine(Section):
    """Who draws a method's samples."""

    engine: Literal["own", "vllm"] = mark(RESULT, "own")
    """``vllm`` has the extra ``vllm`` draw them, on a GPU. Its log-probs of what it drew are compared with the
    harness's own in every step."""


class Sampling(Section):
    """What a method's own sampling is limited by."""

    generate_length: PositiveInt | None = mark(RESULT, None)
    """Longest completion that a method samples; ``max_completion_length`` where None."""
    suppress_stops: bool = mark(RESULT, False)
    """A method's sampling never draws EOS, so that all its completions are as long as the limit (a timing's worst
    case); evaluation draws it as ever."""


class MethodSampling(Sampling):
    """What a training stage is told of its method's sampling."""

    engine: Literal["vllm"] | None = mark(RESULT, None)
    """Who draws; the harness where None."""


class Recipe(Sampling, StepSettings):
    """How every run is trained; the same for all methods unless an entry or a named preset says otherwise."""

    budget: Budget | None = mark(RESULT, None)
    """What a method's own training may spend, instead of ``method_epochs``."""
    epochs: NonNegativeInt = mark(RESULT, 5)
    """All epochs, the method's included; under a budget those of the shared start, of which there may be none."""
    method_epochs: PositiveInt = mark(RESULT, 1)
    """The last epochs, in which a method is active; under a budget there are none."""
    max_steps: PositiveInt | None = mark(RESULT, None)
    """Most steps of the method epochs, for every row alike: the schedule then ends with them. The shared start before
    them is not cut."""
    method_schedule: Literal["continue", "restart"] = mark(RESULT, "continue")
    """``continue``: one schedule over all epochs (the paper). ``restart``: the method epochs have their own."""
    learning_rate: PositiveFloat = mark(RESULT, 1e-4)
    method_learning_rate: NonNegativeFloat | None = mark(RESULT, None)
    """Peak rate of the method epochs; ``learning_rate`` where None."""
    min_learning_rate: NonNegativeFloat = mark(RESULT, 0.0)
    """What cosine and linear schedules end at."""
    schedule: Literal["cosine", "linear", "constant"] = mark(RESULT, "cosine")
    restart_schedule: Literal["cosine", "linear", "constant"] = mark(RESULT, "linear")
    """The schedule of the method epochs under ``method_schedule: restart``."""
    warmup_steps: NonNegativeInt = mark(RESULT, 0)
    method_warmup_steps: NonNegativeInt = mark(RESULT, 0)
    """Warm-up of a schedule that the method epochs have to themselves (``restart``, or ``start: after``)."""
    sampling: SamplingEngine | None = mark(RESULT, None)
    """Who draws a method's samples; the harness where None. Greedy answers of a method are drawn alike; beam search,
    the reference model and evaluation are the harness's."""
    gradient_checkpointing: bool = mark(RUNTIME, False)
    tokens_per_micro_batch: PositiveInt | None = mark(RUNTIME, None)
    """Upper bound of the tokens in one forward; found from the device where None."""
    keep: Literal["all", "final", "none"] = mark(RUNTIME, "final")
    """Which checkpoints stay once every stage that needs them is done."""

    @field_validator("epochs")
    @classmethod
    def _some_training(cls, epochs: int, info: ValidationInfo) -> int:
        if not epochs and info.data.get("budget") is None:
            message = "must be 1 or more without a budget"
            raise ValueError(message)
        return epochs

    @property
    def method_sampling(self) -> MethodSampling:
        """What a method's own sampling is limited by, and who does it."""
        engine = "vllm" if self.sampling is not None and self.sampling.engine == "vllm" else None
        return MethodSampling(generate_length=self.generate_length, suppress_stops=self.suppress_stops, engine=engine)

    @property
    def step_settings(self) -> StepSettings:
        """How a step is taken, the schedule apart."""
        return StepSettings(**{name: getattr(self, name) for name in StepSettings.model_fields})

    @property
    def row_limits(self) -> RowLimits:
        """What decides which tokens a training row is made of."""
        return RowLimits(**{name: getattr(self, name) for name in RowLimits.model_fields})
