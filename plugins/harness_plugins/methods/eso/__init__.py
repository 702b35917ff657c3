"""ESO: evolution strategy in the space of answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from harness.api import MethodRegistration, Preset, hookimpl
from harness_plugins.methods.building_blocks.options import CandidateCompat, Coefficient, GroupOptions, group_needs
from harness_plugins.methods.building_blocks.recipes import COLING_2025, ESO_CODE, PAPER_URL

if TYPE_CHECKING:
    from collections.abc import Iterable


class ESOCompat(CandidateCompat):
    """What the ESO authors' code does otherwise."""

    official_gate: bool = False
    """The gate of reward_threshold as the ESO authors' code runs it, by mistake: a product of shapes (B,) and (B, 1)
    sums over a micro-batch as soon as one of its prompts passes, and leaves none out."""


class ESOOptions(GroupOptions):
    """Options of ``eso``."""

    coef: Coefficient = 0.05
    """Weight of the ESO term, the paper's lambda (Eq. 11)."""
    k_reduction: Literal["sum", "mean"] = "sum"
    """Sum over a prompt's candidates (Eq. 10) or mean (the 1/k of Eq. 9)."""
    length_norm: bool = False
    """Use the mean log-prob a token of each candidate, not the sum."""
    reward_threshold: Annotated[float | None, Field(allow_inf_nan=False)] = None
    """Leave out prompts whose mean reward does not exceed this, and average over the others; null for all prompts."""
    is_correction: Literal["none", "exact", "truncated"] = "none"
    """Weight candidates by p(answer | T = 1) / p(answer | its temperature), since log-probs are those at T = 1."""
    is_cap: PositiveFloat = 2.0
    """Largest weight under is_correction: truncated."""
    compat: ESOCompat = ESOCompat()
    """Departures of papers and released code, as presets set them."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.compat.official_gate and self.reward_threshold is None:
            message = "compat.official_gate needs a reward_threshold"
            raise ValueError(message)
        if self.is_correction != "none":
            if self.sampler != "temperatures" or self.candidate_source != "policy" or self.top_k:
                message = "is_correction needs sampler: temperatures, candidate_source: policy and top_k: 0"
                raise ValueError(message)
            if min(self.temperatures) <= 0:
                message = "is_correction needs temperatures above 0: a greedy answer has no density"
                raise ValueError(message)
        return self


@hookimpl
def harness_register_methods() -> Iterable[MethodRegistration]:
    """Offer ``eso``."""
    return [
        MethodRegistration(
            name="eso",
            summary="Evolution strategy over answers: raise those with an above-average reward, lower the others",
            options=ESOOptions,
            build="harness_plugins.methods.eso.method:ESO",
            source=PAPER_URL,
            needs=frozenset({"reward"}),
            by_options=group_needs,
            presets={
                "paper": Preset(recipe=COLING_2025, active="last", summary="The paper, sections 3.2, 5.3 and 5.4"),
                "official": Preset(
                    options={
                        "coef": 0.1,
                        "temperatures": [0.5, 1.0, 1.25, 1.5],
                        "reward_threshold": 0.1,
                        "dropout_in_logp": True,
                        "compat": {
                            "token_mean_micro": True,
                            "micro_batch_size": 8,
                            "include_eos_in_logp": False,
                            "empty_completion": "zero",
                            "logprob_dtype": "bfloat16",
                            "official_gate": True,
                        },
                    },
                    recipe=ESO_CODE,
                    active="all_but_last",
                    summary="The released code as it runs, with its default coefficient (its script sets 0: plain SFT)",
                ),
                "alignment": Preset(
                    options={"use_sft_term": False, "coef": 1.0},
                    summary="The paper's alignment experiment, section 5.7: its gradient alone, without the supervised"
                    " term; with a reward model and start: after",
                ),
            },
            default_preset="paper",
        )
    ]
