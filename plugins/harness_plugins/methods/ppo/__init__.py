"""PPO: proximal policy optimisation with a critic and a KL penalty in the reward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from harness.api import MethodRegistration, Preset, hookimpl
from harness_plugins.methods.building_blocks.options import Coefficient, SupervisedCompat, SupervisedOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from harness.api.registration import Need

#: A discount.
Discount = Annotated[float, Field(ge=0.0, le=1.0)]


class PPOCompat(SupervisedCompat):
    """Where TRL 1.12 and the two reproductions of OpenAI's code differ."""

    whitening_variance: Literal["unbiased", "biased"] = "unbiased"
    """Variance that advantages (and rewards) are whitened by: over n - 1 tokens (TRL) or over n (both
    reproductions)."""
    missing_eos: Literal["subtract", "replace"] = "subtract"
    """Take missing_eos_penalty off the score of a cut answer (TRL), or give such an answer minus the penalty as its
    score (both reproductions)."""
    include_eos_in_logp: bool = True
    """Count the closing EOS in a candidate's log-prob, so that the decision to stop is trained too. The ESO authors'
    code leaves it out, and so does TRL's PPO where padding and EOS are one id."""
    end_state: bool = False
    """Where the score of an ended answer falls: on its EOS, behind which nothing is worth anything; or, as TRL has it,
    on a state of its own behind the EOS, whose value the critic learns too."""
    value_init: Literal["zero", "normal"] = "zero"
    """Weights of a new value head: zeros, or normal with standard deviation 1 / sqrt(width + 1) (arXiv:2403.17031)."""


class PPOOptions(SupervisedOptions):
    """Options of ``ppo``. Names and values are those of TRL's ``PPOConfig`` where it has them."""

    num_generations: PositiveInt = 1
    """Answers sampled for each prompt of a step; all of a prompt's go into the same mini-batch."""
    temperature: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 0.7
    """Sampling temperature; log-probs of policy and reference, and so ratios and KL, are those at this temperature."""
    num_ppo_epochs: PositiveInt = 4
    """Passes over the answers of a step."""
    num_mini_batches: PositiveInt = 1
    """Optimiser steps a pass: the prompts of the step are cut into so many parts, shuffled again in each pass."""
    kl_coef: Coefficient = 0.05
    """Weight of the KL to the reference in a token's reward; where it starts under kl_controller: adaptive."""
    kl_estimator: Literal["k1", "k3"] = "k1"
    """Of a token's KL, with x = log p - log p_ref: k1 is x, k3 is exp(-x) - 1 + x, which is never negative."""
    kl_controller: Literal["fixed", "adaptive"] = "fixed"
    """Keep kl_coef, or move it after each step towards what keeps an answer's KL at kl_target."""
    kl_target: PositiveFloat = 6.0
    """Nats an answer under kl_controller: adaptive."""
    kl_horizon: PositiveFloat = 10_000.0
    """Answers over which kl_controller: adaptive moves kl_coef by at most a fifth."""
    cliprange: PositiveFloat = 0.2
    """Ratios outside 1 +- this give no further push."""
    cliprange_value: PositiveFloat | None = 0.2
    """A value may move so far from what it was when the answer was sampled; null for no limit."""
    vf_coef: Coefficient = 0.1
    """Weight of the value loss beside the policy loss."""
    gamma: Discount = 1.0
    """Discount of later rewards, for each token."""
    lam: Discount = 0.95
    """Lambda of generalised advantage estimation: 1 sums all rewards to come, 0 looks one token ahead."""
    whiten_rewards: bool = False
    """Divide the tokens' rewards, KL penalty included, by their standard deviation; their mean stays."""
    missing_eos_penalty: PositiveFloat | None = None
    """For an answer that was cut at the length limit; null for none."""
    critic: Literal["policy", "reward_model", "shared", "detached"] = "policy"
    """A model of its own that starts as the policy or the reward model; a head on the policy's last hidden states; or
    such a head whose gradient does not reach the policy."""
    value_learning_rate: PositiveFloat | None = None
    """Peak learning rate of the critic (or head) on the policy's schedule; the policy's own where null."""
    sft_coef: Coefficient = 0.0
    """Weight of a supervised term on the demonstrations beside PPO's losses."""
    compat: PPOCompat = PPOCompat()
    """Departures of papers and released code, as presets set them."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.compat.missing_eos == "replace" and self.missing_eos_penalty is None:
            message = "compat.missing_eos: replace needs missing_eos_penalty: the score that a cut answer gets, negated"
            raise ValueError(message)
        return self


#: What the three sources have in common: a linear schedule to 0 that starts at once, no clipping of gradients, dropout
#: off.
_RECIPE = {"method_schedule": "restart", "restart_schedule": "linear", "min_learning_rate": 0.0, "max_grad_norm": 0.0}

_PRESETS = {
    "trl": Preset(
        options={"compat": {"end_state": True}},
        recipe={
            **_RECIPE,
            "method_learning_rate": 3e-6,
            "optimizer": "adamw",
            "weight_decay": 0.0,
            "generate_length": 53,
        },
        summary="The defaults of PPOConfig in TRL 1.12, the last release that has PPO",
    ),
    "summarize-from-feedback": Preset(
        options={
            "missing_eos_penalty": 1.0,
            "critic": "reward_model",
            "compat": {"whitening_variance": "biased", "missing_eos": "replace", "end_state": True},
        },
        recipe={
            **_RECIPE,
            "batch_size": 64,
            "method_learning_rate": 3e-6,
            "optimizer": "adamw",
            "epsilon": 1e-5,
            "weight_decay": 0.01,
            "generate_length": 53,
        },
        summary="The N+ implementation details of RLHF with PPO (TL;DR summarisation), one GPU's batch",
    ),
    "lm-human-preferences": Preset(
        options={
            "kl_coef": 0.15,
            "kl_controller": "adaptive",
            "whiten_rewards": True,
            "missing_eos_penalty": 1.0,
            "critic": "shared",
            "compat": {"whitening_variance": "biased", "missing_eos": "replace"},
        },
        recipe={
            **_RECIPE,
            "batch_size": 64,
            "method_learning_rate": 1e-5,
            "optimizer": "adam",
            "epsilon": 1e-5,
            "weight_decay": 0.0,
            "generate_length": 24,
        },
        summary="Ziegler et al. 2019 as reproduced in The N implementation details of RLHF with PPO, one GPU's batch",
    ),
}


_NEEDS: frozenset[Need] = frozenset({"reward", "reference", "critic"})


def _by_options(options: PPOOptions) -> Mapping[str, Any]:
    return {"needs": _NEEDS | {"reward_model"}} if options.critic == "reward_model" else {}


@hookimpl
def harness_register_methods() -> Iterable[MethodRegistration]:
    """Offer ``ppo``."""
    return [
        MethodRegistration(
            name="ppo",
            summary="Proximal policy optimisation: clipped updates along advantages of a critic, KL in the reward",
            options=PPOOptions,
            build="harness_plugins.methods.ppo.method:PPO",
            source="https://arxiv.org/abs/1909.08593",
            needs=_NEEDS,
            by_options=_by_options,
            presets=_PRESETS,
            start="after",
            mixes_supervision=False,
        )
    ]
