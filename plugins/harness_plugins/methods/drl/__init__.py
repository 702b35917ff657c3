"""DRL: self-critical policy gradient mixed with the supervised loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from harness.api import MethodRegistration, Preset, hookimpl
from harness_plugins.methods.building_blocks.options import CandidateTermOptions, Coefficient
from harness_plugins.methods.building_blocks.recipes import COLING_2025, ESO_CODE

if TYPE_CHECKING:
    from collections.abc import Iterable


class DRLOptions(CandidateTermOptions):
    """Options of ``drl``."""

    coef: Coefficient = 0.05
    """Weight of the policy-gradient term: lambda, or gamma under mix: gamma."""
    mix: Literal["lambda", "gamma"] = "lambda"
    """lambda: L_sft + coef L_rl; gamma: (1 - coef) L_sft + coef L_rl."""
    baseline: Literal["greedy", "none", "mean"] = "greedy"
    """What a sample's reward is compared with: the greedy answer's, 0, or the mean of the prompt's samples."""
    n_samples: PositiveInt = 1
    """Sampled answers a prompt; their losses are averaged."""
    temperature: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 1.0
    """Sampling temperature."""
    length_norm: bool = False
    """Use the mean log-prob a token of each sample, not the sum."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.baseline == "mean" and self.n_samples < 2:
            message = "baseline: mean needs n_samples of 2 or more: the mean of one sample is itself"
            raise ValueError(message)
        if self.mix == "gamma" and self.coef > 1:
            message = "mix: gamma needs a coef of at most 1"
            raise ValueError(message)
        return self


@hookimpl
def harness_register_methods() -> Iterable[MethodRegistration]:
    """Offer ``drl``."""
    return [
        MethodRegistration(
            name="drl",
            summary="Self-critical policy gradient: one sample against the greedy answer, beside the supervised term",
            options=DRLOptions,
            build="harness_plugins.methods.drl.method:DRL",
            source="https://arxiv.org/abs/1705.04304",
            needs=frozenset({"reward"}),
            presets={
                "paper": Preset(recipe=COLING_2025, active="last", summary="As the ESO paper's baseline, section 2.2"),
                "official": Preset(
                    options={
                        "compat": {
                            "token_mean_micro": True,
                            "micro_batch_size": 8,
                            "include_eos_in_logp": False,
                            "empty_completion": "zero",
                        }
                    },
                    recipe=ESO_CODE,
                    active="last",
                    summary="Candidates as the ESO paper's authors drew them; their loss for it was never released",
                ),
                "paulus": Preset(
                    options={"mix": "gamma", "coef": 0.9984, "sft_reduction": "seq_sum"},
                    recipe={"method_learning_rate": 1e-4},
                    active="last",
                    summary="The mixed objective of Paulus et al. 2018 with its gamma",
                ),
            },
            default_preset="paper",
        )
    ]
