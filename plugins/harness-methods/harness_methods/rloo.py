"""RLOO: REINFORCE with a leave-one-out baseline (Ahmadian et al. 2024, https://arxiv.org/abs/2402.14740)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from harness.api import Column, MethodRegistration, Options, Preset, Rewards, Stateless, hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from torch import Tensor

    from harness.api import Batch, Completions, Run


class RLOOOptions(Options):
    """Options of ``rloo``; TRL's names where it has them."""

    num_generations: Annotated[int, Field(ge=2)] = 4
    """Answers sampled for each prompt, k."""
    temperature: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 1.0
    """Sampling temperature; log-probs, ratios and KL are those at this temperature."""
    beta: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.03
    """Weight of the KL to the reference in an answer's reward (k1, summed over its tokens); 0 needs no reference."""
    objective: Literal["reinforce", "clipped"] = "reinforce"
    """The log-prob times the advantage (paper), or the clipped ratio of whole answers (TRL)."""
    epsilon: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    """Under objective: clipped, ratios below 1 minus this push no further down."""
    epsilon_high: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = None
    """Ratios above 1 plus this push no further up; null for epsilon."""
    num_iterations: PositiveInt = 1
    """Passes over the answers of a step."""
    num_minibatches: PositiveInt = 1
    """Optimiser steps a pass: the prompts of the step are cut into so many parts, shuffled again in each pass."""
    normalize_advantages: bool = False
    """Divide the advantages by their standard deviation over the whole batch."""
    reward_clip_range: tuple[float, float] | None = None
    """Clip rewards to this range, before the KL is taken off; null for no limit."""
    absent_divisor: Literal["present", "all"] = "present"
    """Average over the answers that have a reward, as if the others had not been drawn; or over all answers (TRL)."""
    mask_truncated: bool = False
    """Give an answer that was cut at the length limit no gradient and no KL; its reward stays in the group."""
    disable_dropout: bool = True
    """Compute the policy's log-probs without the recipe's dropout; the reference model never has any."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.num_iterations * self.num_minibatches > 1 and not self.disable_dropout:
            message = "disable_dropout: false is for one update a batch: ratios to stored log-probs would be noise"
            raise ValueError(message)
        if self.reward_clip_range is not None and not self.reward_clip_range[0] < self.reward_clip_range[1]:
            message = f"reward_clip_range must be [low, high], got {list(self.reward_clip_range)}"
            raise ValueError(message)
        return self


def leave_one_out(rewards: Rewards) -> Tensor:
    """Return A_j = R_j - mean of the group's other rewards, (B, K) float64; exactly 0 where they are equal or alone."""
    counts = rewards.counts[:, None].double()
    return rewards.centred() * (counts / (counts - 1).clamp(min=1))


def normalised(advantages: Tensor, members: Tensor, total: Callable[[Tensor | float], Tensor]) -> Tensor:
    """Divide by the standard deviation over ``members`` (B, K) of all ranks plus 1e-4; their mean is 0 as it is."""
    freedom = (total(members.sum()) - 1).clamp(min=1)
    return advantages / ((total(advantages.square().sum()) / freedom).sqrt() + 1e-4)


def answer_losses(logp: Tensor, old: Tensor, advantages: Tensor, options: RLOOOptions) -> tuple[Tensor, Tensor]:
    """Return the loss of each answer and whether clipping takes its gradient; all (b, K), log-probs of whole answers.

    ``old`` is ``logp`` as it was when the answer was drawn; ``objective: reinforce`` does not read it.
    """
    ratio = (logp - old).exp()
    low, high = 1 - options.epsilon, 1 + (options.epsilon_high or options.epsilon)
    clipped = ((ratio < low) & (advantages < 0)) | ((ratio > high) & (advantages > 0))
    if options.objective == "reinforce":
        return -advantages * logp, clipped
    return -(ratio * advantages).minimum(ratio.clamp(low, high) * advantages), clipped


class RLOO(Stateless):
    """REINFORCE with a leave-one-out baseline (Ahmadian et al. 2024, Eq. 9; Kool et al. 2019).

    In formulas, for k answers y_j of each prompt x, log p summed over the tokens of an answer, EOS included::

        R'_j = R(x, y_j) - beta (log p_old(y_j) - log p_ref(y_j))
        A_j  = R'_j - 1 / (k - 1) sum_{i != j} R'_i
        L    = - mean_j A_j log p(y_j)                                          objective: reinforce
        L    = - mean_j min(rho_j A_j, clip(rho_j, 1 +- epsilon) A_j)           objective: clipped, rho_j = p / p_old

    over all answers of the (mini-)batch. With beta 0 and one update, (k - 1) c times its gradient is that of ESO's term
    with weight c at temperature 1, and its gradient is k / (k - 1) L_max times Dr. GRPO's.

    Differs from the paper and from TRL's RLOOTrainer:

    1. An answer without a reward counts as if it had never been drawn; TRL gives it A = 0 and counts it in the mean
       (``absent_divisor: all``). A group of one, or of equal rewards, has A = 0 exactly.
    2. Dropout is off in the policy too; TRL leaves it on (``disable_dropout: false``).
    3. With one update a batch p_old is p without gradient, so that rho is 1, and not a second forward.
    4. ``reinforce`` with more than one update a batch corrects for nothing, as published.
    """

    def __init__(self, options: RLOOOptions) -> None:
        """Keep the options."""
        self.options = options

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        """Sample, judge, and take the optimiser steps.

        Logged are ``kl``, nats a token to the reference before the updates, and with several updates under ``clipped``
        the share of answers whose gradient clipping takes, ``clipped``.
        """
        o = self.options
        samples = run.sample(batch, (o.temperature,) * o.num_generations)
        rewards = run.reward(batch, samples)
        drawn = samples.lengths > 0
        present = rewards.present & drawn
        counted = present if o.absent_divisor == "present" else drawn
        trained = counted & samples.finished if o.mask_truncated else counted
        rows: dict[str, Any] = {"batch": batch, "samples": samples, "counted": counted, "trained": trained}
        values = rewards.values if o.reward_clip_range is None else rewards.values.clamp(*o.reward_clip_range)
        stored = o.objective == "clipped" and o.num_iterations * o.num_minibatches > 1
        if o.beta or stored:
            old = run.logprobs(batch, samples, temperature=o.temperature, dropout=False).values.detach().double()
            rows |= {"old": old.sum(-1).where(trained, 0.0)} if stored else {}
        if o.beta:
            reference = run.reference_logprobs(batch, samples, temperature=o.temperature).values.double()
            kl = (old - reference).sum(-1).where(trained, 0.0)
            run.log("kl", kl, samples.lengths * trained)
            values = values - o.beta * kl
        advantages = leave_one_out(Rewards(values.where(present, 0.0), present))
        if o.normalize_advantages:
            advantages = normalised(advantages, present & (present.sum(1, keepdim=True) > 1), run.total)
        rows["advantages"] = advantages
        for number in range(o.num_iterations):
            whole = o.num_minibatches == 1
            for part in [rows] if whole else run.shuffle(rows, o.num_minibatches, f"pass {number}"):
                self._update(run, part)
        return {}

    def _update(self, run: Run, rows: Mapping[str, Any]) -> None:
        """Take one optimiser step, unless no rank has a row."""
        o = self.options
        answers = run.total(rows["counted"].sum()).clamp(min=1)
        if not float(run.total(len(rows["batch"]))):
            return

        def loss(
            batch: Batch, samples: Completions, counted: Tensor, trained: Tensor, advantages: Tensor, **stored: Tensor
        ) -> Mapping[str, Tensor]:
            values = run.logprobs(batch, samples, temperature=o.temperature, dropout=not o.disable_dropout).values
            logp = values.double().sum(-1).where(trained, 0.0)
            losses, clipped = answer_losses(logp, stored.get("old", logp.detach()), advantages, o)
            if stored:
                run.log("clipped", clipped, trained)
            return {"rloo": losses.where(counted, 0.0).sum() / answers}

        run.update(loss, **rows)


@hookimpl
def harness_register_methods() -> Iterable[MethodRegistration]:
    """Offer ``rloo``."""
    return [
        MethodRegistration(
            name="rloo",
            summary="REINFORCE with a leave-one-out baseline: each answer against the prompt's other answers",
            options=RLOOOptions,
            build="harness_methods.rloo:RLOO",
            source="https://arxiv.org/abs/2402.14740",
            needs=frozenset({"reward", "reference"}),
            by_options=lambda options: {} if options.beta else {"needs": frozenset({"reward"})},
            presets={
                "paper": Preset(
                    options={"num_generations": 4, "beta": 0.03, "num_minibatches": 2},
                    recipe={"batch_size": 512},
                    summary="The paper's estimator, k = 4, two optimiser steps a batch of 512 prompts",
                ),
                "trl": Preset(
                    options={"num_generations": 2, "beta": 0.05, "objective": "clipped", "absent_divisor": "all"}
                    | {"disable_dropout": False},
                    recipe={"method_learning_rate": 1e-6, "restart_schedule": "linear", "method_warmup_steps": 0}
                    | {"optimizer": "adamw", "weight_decay": 0.0, "max_grad_norm": 1.0, "generate_length": 512},
                    summary="The defaults of TRL's RLOOConfig",
                ),
            },
            start="after",
            mixes_supervision=False,
            logs=(Column("kl", "KL", digits=3), Column("clipped", "clipped %", scale=100.0, digits=1)),
        )
    ]
